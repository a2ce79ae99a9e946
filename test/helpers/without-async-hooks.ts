/**
 * Loaded before each test file. tap attributes an error that nothing catches to the test that caused it, by async hooks,
 * which make every promise of the process about twice as expensive; the actors that run in the tests' processes have
 * many. Without the hooks, such an error ends the test file, and test-file.ts reports that and the error.
 */
import asyncHooks from 'node:async_hooks';
import { syncBuiltinESMExports } from 'node:module';

asyncHooks.createHook = () => {
  const hook: asyncHooks.AsyncHook = { enable: () => hook, disable: () => hook };
  return hook;
};
syncBuiltinESMExports();
