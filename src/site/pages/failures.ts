import { failureClass, type FailureClass } from '../../failures/classes.js';

/**
 * What each class of failure means to a user who wants the package: what happened, and what to do about it. What was
 * missing or wrong in a particular build, by name, is in its log and at the top of the log's page.
 */
const SENTENCES: Readonly<Record<FailureClass, string>> = {
  'no-sdist':
    'The index has no source for this version, only wheels or nothing at all. Use a wheel from there, or ask the project to publish its source.',
  'bad-sdist':
    'The source that the project published is broken or belongs to another project. Only a new release can fix this.',
  'hash-mismatch':
    'What was downloaded does not match the hash that the index published, so none of it was run. Try another version, and tell the project.',
  'build-requirement':
    'Something that the build needs could not be found or installed. The log names it. A newer version of the package may need less.',
  'missing-header':
    'A C library’s header file is missing on the builders. The log names it, and often the system package that provides it: with that package installed, you can build it on your own machine.',
  'missing-library':
    'A library or program that the build needs is missing on the builders. The log names it: with it installed, the build may succeed on your own machine.',
  compiler:
    'The code does not compile here, or there is no compiler for its language. Try a newer version, or show the project the log.',
  'no-compiler':
    'The slave that tried the build has no compiler. The package is not at fault: another slave or a later attempt may succeed.',
  'python-version':
    'This version does not support this version of Python. Use a version of the package that does, or another Python.',
  network:
    'The index, or something else that the build downloads, could not be reached. A later attempt may succeed.',
  index: 'The index answered with an error when the source was downloaded. A later attempt may succeed.',
  timeout:
    'The build took longer than this farm allows. Ask whoever runs the farm to allow more time, or build it on your own machine.',
  silent:
    'The build printed nothing for so long that it was considered hung and was stopped. The end of the log shows what it was doing.',
  memory:
    'The build needs more memory than the builders have. Build it on a machine with more memory, or with fewer parallel jobs.',
  disk: 'The builder’s disk was full. The package is not at fault: a later attempt may succeed.',
  'log-limit':
    'The build printed more than this farm allows and was stopped. The log has the beginning and the end of its output.',
  killed:
    'The build was killed from outside, which says nothing about the package. A later attempt may succeed.',
  'no-wheel': 'The build succeeded but made no wheel. The project has to fix its build.',
  'wrong-wheel':
    'The build made a broken wheel or a wheel of something else, which was not published. The project has to fix its build.',
  incomplete:
    'The package was built without its compiled part, which did not compile here, and this farm does not publish such wheels. The log has the compiler’s first error.',
  other: 'The build failed for an unknown reason. The log has all of its output.',
};

/** Returns the sentences for a failure class; those of `other` for an unknown one. */
export const failureSentence = (name: string | null): string => SENTENCES[failureClass(name)];

/** Returns a build's reason as a sentence for a page: with a capital letter and a full stop. */
export function reasonSentence(reason: string): string {
  const sentence = reason.charAt(0).toUpperCase() + reason.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
