import { tmpdir } from 'node:os';

/**
 * Returns the parent for the temporary folder of a test that creates thousands of files and doesn't care on which file
 * system: in memory if there is enough (see run.ts), where a file costs a fifth of the processor time.
 */
export const memoryFolder = (): string => process.env['PIW_TEST_MEMORY'] ?? tmpdir();
