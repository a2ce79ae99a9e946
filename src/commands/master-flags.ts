import { Flags } from '@oclif/core';
import { SETTING_DEFINITIONS } from '../config.js';
import { prefixFlag, rebuiltFlag, tlsFlags } from './base.js';

/** What a master can be told, alone or as a part of `piw farm`: each option is declared once, here. */
export const masterFlags = {
  rebuilt: rebuiltFlag,
  incomplete: Flags.string({
    helpValue: 'HOW',
    options: SETTING_DEFINITIONS.incomplete.choices,
    description:
      'a wheel whose compiled part did not compile: publish it with a remark (default), or refuse it',
  }),
  ...tlsFlags,
  prefix: prefixFlag,
  'dev-mode': Flags.boolean({ description: 'shorter waits, for development and small farms' }),
  debug: Flags.string({ helpValue: 'TASK', multiple: true, description: 'log this task in detail' }),
  'pypi-xmlrpc': Flags.string({ helpValue: 'URL', description: "PyPI's XML-RPC service" }),
  'pypi-simple': Flags.string({ helpValue: 'URL', description: "PyPI's simple API" }),
  'pypi-json': Flags.string({ helpValue: 'URL', description: "PyPI's JSON API" }),
  'index-url': Flags.string({ helpValue: 'URL', description: 'what slaves build from' }),
  'extra-index-url': Flags.string({
    helpValue: 'URL',
    description: 'where slaves also look for build requirements',
  }),
  'own-index-url': Flags.string({
    helpValue: 'URL',
    description:
      "where slaves find this farm's own wheels for build requirements, or none (default: in public-url)",
  }),
  'public-url': Flags.string({
    helpValue: 'URL',
    description: 'under which address people reach the site',
  }),
  watch: Flags.string({
    helpValue: 'NAME',
    multiple: true,
    description: 'follow this package only, or those of a pattern like zope.*; can be repeated',
  }),
  'watch-file': Flags.string({
    helpValue: 'FILE',
    description: 'follow what this file lists, one a line; it is read again when it changes',
  }),
  'one-process': Flags.boolean({
    default: false,
    description: 'run every task in this process, for machines too small for one each',
  }),
  'register-targets': Flags.boolean({ description: 'build for whatever target a slave announces' }),
  'allow-superuser': Flags.boolean({ description: "use a PostgreSQL superuser's role all the same" }),
};
