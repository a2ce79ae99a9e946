import { Flags } from '@oclif/core';
import { SETTING_DEFINITIONS } from '../config.js';
import { prefixFlag, duplicateFilenameFlag, tlsFlags } from './base.js';

/** Options of a master, alone or as part of `piw farm`: each is declared once, here. */
export const masterFlags = {
  'on-duplicate-filename': duplicateFilenameFlag,
  incomplete: Flags.string({
    helpValue: 'HOW',
    options: SETTING_DEFINITIONS.incomplete.choices,
    description:
      'what to do with a wheel whose compiled part failed to compile: publish it with a note (default), or refuse it',
  }),
  ...tlsFlags,
  prefix: prefixFlag,
  'dev-mode': Flags.boolean({
    description:
      'use shorter intervals, for development and small farms: changed pages are written after 1 s instead of up to 60 s, and the statistics are gathered every 5 s instead of 30 s',
  }),
  debug: Flags.string({
    helpValue: 'TASK',
    multiple: true,
    multipleNonGreedy: true,
    description: 'log each message that this task handles; can be repeated',
  }),
  'pypi-xmlrpc': Flags.string({
    helpValue: 'URL',
    description: "XML-RPC API of the followed index (default: PyPI's if the index is PyPI, otherwise none)",
  }),
  'pypi-simple': Flags.string({
    helpValue: 'URL',
    description: 'simple API of the index to follow (default: https://pypi.org/simple)',
  }),
  'pypi-json': Flags.string({
    helpValue: 'URL',
    description: "JSON API of the followed index (default: PyPI's if the index is PyPI, otherwise none)",
  }),
  'index-url': Flags.string({
    helpValue: 'URL',
    description: 'index that slaves build from (default: the followed index)',
  }),
  'extra-index-url': Flags.string({
    helpValue: 'URL',
    description: 'additional index for build requirements',
  }),
  'own-index-url': Flags.string({
    helpValue: 'URL',
    description:
      "this farm's own index, as slaves reach it for build requirements, or none (default: derived from public-url)",
  }),
  'public-url': Flags.string({
    helpValue: 'URL',
    description: 'public address of the site',
  }),
  watch: Flags.string({
    helpValue: 'NAME',
    multiple: true,
    multipleNonGreedy: true,
    description: 'follow only this package, or packages that match a pattern like zope.*; can be repeated',
  }),
  'watch-file': Flags.string({
    helpValue: 'FILE',
    description: 'follow only the packages in this file, one per line; it is reread when it changes',
  }),
  'one-process': Flags.boolean({
    default: false,
    description: 'run all tasks in one process, for machines too small for a process each',
  }),
  'register-targets': Flags.boolean({
    description: 'build for every target (ABI and platform) that a slave announces',
  }),
  'allow-superuser': Flags.boolean({ description: 'allow a database role that is a PostgreSQL superuser' }),
};
