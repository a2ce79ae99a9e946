import { failureClass, type FailureClass } from '../states/failure.js';

/**
 * Why a build failed, for whoever wants the package: what happened, and what to do about it. What was missing or
 * wrong in this one build, by name, is in its log, which says it again on top.
 */
const SENTENCES: Readonly<Record<FailureClass, string>> = {
  'no-sdist':
    'The index has no source of this version, only wheels or nothing: take a wheel from there, or ask the project to publish its source.',
  'bad-sdist':
    'The source that the project published is broken or describes another project: only a new release of it can help.',
  'hash-mismatch':
    'What was downloaded is not what the index had announced, so nothing of it was run: try another version, and tell the project.',
  'build-requirement':
    'Something that it needs in order to be built could not be had or installed: a newer version may need less; the log names what is missing.',
  'missing-header':
    'A header file of a C library is missing on the builders: the log names it, and often the package of the system that has it, with which it builds on a machine of your own.',
  'missing-library':
    'A library or a program that the build needs is missing on the builders: the log names it; with it installed, it may build on a machine of your own.',
  compiler:
    'Its code does not compile here, or there is no compiler for its language: look for a newer version, or show the project the log.',
  'no-compiler':
    'The slave that tried it has no compiler, which is no fault of the package: another slave gets it, or a later attempt may do better.',
  'python-version':
    'This version is not for this Python: take a version of the package that supports it, or another Python.',
  network:
    'The index, or something else on the network that the build wants, could not be reached: a later attempt may do better.',
  index: 'The index answered with an error when the source was fetched: a later attempt may do better.',
  timeout:
    'It took longer than builds may take here: ask whoever runs this farm to give it more time, or build it on a machine of your own.',
  silent: 'It said nothing for so long that it was taken to hang: the end of the log shows what it was at.',
  memory: 'It needs more memory than the builders have: build it on a machine with more, or in fewer jobs.',
  disk: 'The disk of the builder was full, which is no fault of the package: a later attempt may do better.',
  'log-limit': 'It printed more than a build may here, and was ended: the log has its beginning and its end.',
  killed: 'It was ended from outside, which says nothing of the package: a later attempt may do better.',
  'no-wheel': 'The build ended well but made no wheel: the project has to mend how it is built.',
  'wrong-wheel':
    'It made a wheel of something else, or a broken one, which is not published: the project has to mend how it is built.',
  incomplete:
    'It built without its compiled part, which did not compile here, and this farm publishes no such wheels: the log has the compiler’s first error.',
  other: 'The build failed in a way that is not known here: the log has all that it said.',
};

/** The sentence of a class; of one that is unknown, that of `other`. */
export const failureSentence = (name: string | null): string => SENTENCES[failureClass(name)];

/** The sentence of one build, as a sentence of a page: begins with a capital letter and ends with a full stop. */
export function reasonSentence(reason: string): string {
  const sentence = reason.charAt(0).toUpperCase() + reason.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
