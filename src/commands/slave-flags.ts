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
  'log-limit': Flags.integer({
    helpValue: 'MB',
    description: "how much of a build's log is kept, 1 to 60: its head and its tail (default: 16)",
  }),
  'log-limit-fails': Flags.boolean({ description: 'a build whose log is longer than log-limit fails' }),
  'output-limit': Flags.integer({
    helpValue: 'MB',
    description: 'how much a build may print, kept or not (default: 1024; 0: no limit)',
  }),
  'build-memory': Flags.integer({
    helpValue: 'MB',
    description: 'how much memory all processes of a build may have together (default: 0, no limit)',
  }),
  'build-address-space': Flags.integer({
    helpValue: 'MB',
    description: 'how much address space each of its processes may have (default: 0, no limit)',
  }),
  'build-processes': Flags.integer({
    helpValue: 'NUMBER',
    description: 'how many processes a build may have at once (default: 2000; 0: no limit)',
  }),
  'build-open-files': Flags.integer({
    helpValue: 'NUMBER',
    description: 'how many files each of its processes may have open (default: 4096; 0: no limit)',
  }),
  'build-file-size': Flags.integer({
    helpValue: 'MB',
    description: 'how large a file that it writes may be (default: 16384; 0: no limit)',
  }),
  'build-disk-free': Flags.integer({
    helpValue: 'MB',
    description: 'end a build that leaves less of the disk free (default: 256; 0: whatever is free)',
  }),
  'build-niceness': Flags.integer({
    helpValue: '0..19',
    description: 'how much a build gives way to other programs (default: 10)',
  }),
  'build-env': Flags.string({
    helpValue: 'NAME=VALUE',
    multiple: true,
    description: 'a variable that builds get; they can read it, so no secret; can be repeated',
  }),
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
