import { rethrowUnexpected, type PiwError } from '../errors.js';
import { parseConfigLine, readConfigFile } from './config-file.js';
import { convertAssignment, environmentAssignments, lineAssignment } from './load.js';

/**
 * Returns everything that is wrong with these configuration files and with the environment. The loaders throw only the
 * first of these errors.
 */
export function settingsProblems(
  files: readonly string[],
  environment: NodeJS.ProcessEnv,
): readonly PiwError[] {
  const problems: PiwError[] = [];
  const attempt = <T>(action: () => T): T | undefined => {
    try {
      return action();
    } catch (error) {
      rethrowUnexpected(error);
      problems.push(error);
      return undefined;
    }
  };
  for (const file of files) {
    const lines = attempt(() => readConfigFile(file))?.split(/\r?\n/) ?? [];
    for (const [i, raw] of lines.entries())
      attempt(() => {
        const line = parseConfigLine(raw, i + 1, file);
        if (line !== undefined) convertAssignment(lineAssignment(line, file));
      });
  }
  for (const [variable, value] of Object.entries(environment))
    attempt(() => {
      for (const assignment of environmentAssignments({ [variable]: value }).values())
        convertAssignment(assignment);
    });
  return problems;
}
