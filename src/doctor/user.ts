import { userInfo } from 'node:os';
import type { Check } from './check.js';

/** Whether this is the user of the service: what root can read, write and connect to says nothing about that user. */
export const ordinaryUser: Check = {
  name: 'user',
  applies: ({ roles, settings }) =>
    (roles.has('master') || roles.has('builder')) && !settings['allow-root'] && userInfo().uid === 0,
  run: ({ roles, settings }) => [
    roles.has('builder')
      ? {
          problem: 'this is root, and builds run the code of strangers',
          fix: 'run piw slave, and piw doctor, as an ordinary user',
        }
      : {
          problem: 'this is root, but the master runs as an ordinary user, who can do less',
          fix: `sudo -u ${settings.user} piw doctor`,
        },
  ],
};
