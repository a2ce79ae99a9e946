import { Flags } from '@oclif/core';
import { prefixFlag, tlsFlags } from './base.js';

/** What a slave can be told, alone or as a part of `piw farm`: each option is declared once, here. */
export const slaveFlags = {
  timeout: Flags.string({
    char: 't',
    helpValue: 'DURATION',
    description: 'how long a build may take, as 3h, 90m, 45s (default: 3h)',
  }),
  'silence-timeout': Flags.string({
    helpValue: 'DURATION',
    description: 'how long a build may say nothing (default: 1h)',
  }),
  'log-limit-fails': Flags.boolean({ description: 'a build whose log is longer than log-limit fails' }),
  sandbox: Flags.string({
    options: ['auto', 'required', 'none'],
    description: 'build in a sandbox: if bubblewrap works here (auto), always, or never (default: auto)',
  }),
  'sandbox-network': Flags.string({
    options: ['on', 'requirements', 'off'],
    description:
      'who has the network in the sandbox: builds; only pip, to download what they require; nobody (default: on)',
  }),
  'build-path': Flags.string({
    helpValue: 'DIR',
    multiple: true,
    description: "where builds find further programs, as a Rust compiler's bin; can be repeated",
  }),
  ...tlsFlags,
  'slave-key': Flags.string({ helpValue: 'FILE', description: 'the key that piw slaves add has made' }),
  'slave-user': Flags.string({ helpValue: 'NAME', description: 'the name that it was made for' }),
  prefix: prefixFlag,
  python: Flags.string({
    helpValue: 'PATH',
    multiple: true,
    description: 'build with this interpreter; can be repeated',
  }),
  label: Flags.string({
    helpValue: 'TEXT',
    description: "what people call it (default: the machine's name)",
  }),
  'work-dir': Flags.string({ helpValue: 'DIR', description: 'where builds are made' }),
  'min-disk-free': Flags.integer({
    helpValue: 'MB',
    description: 'take no work with less of the disk free (default: 1024; 0: whatever is free)',
  }),
  'min-memory-free': Flags.integer({
    helpValue: 'MB',
    description: 'take no work with less memory free (default: 64)',
  }),
  'max-load': Flags.integer({
    helpValue: 'NUMBER',
    description: "take no work while the machine's load is above this (default: 0, whatever it is)",
  }),
  'max-temperature': Flags.integer({
    helpValue: 'CELSIUS',
    description: 'take no work while the machine is hotter than this (default: 85)',
  }),
  'allow-exposed': Flags.boolean({
    description: 'build without a sandbox also where builds could read its key or write its code',
  }),
};
