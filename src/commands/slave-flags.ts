import { Flags } from '@oclif/core';
import { prefixFlag, tlsFlags } from './base.js';

/** Options of a slave, alone or as part of `piw farm`: each is declared once, here. */
export const slaveFlags = {
  timeout: Flags.string({
    char: 't',
    helpValue: 'DURATION',
    description: 'maximum duration of a build, e.g. 90m or 45s (default: 3h)',
  }),
  'silence-timeout': Flags.string({
    helpValue: 'DURATION',
    description: 'maximum time without output from a build (default: 1h)',
  }),
  'log-limit': Flags.integer({
    helpValue: 'MB',
    description: "how much of a build's log to keep, 1 to 60: its beginning and its end (default: 16)",
  }),
  'log-limit-fails': Flags.boolean({ description: 'fail a build whose log exceeds log-limit' }),
  'output-limit': Flags.integer({
    helpValue: 'MB',
    description: 'maximum output of a build, kept or not (default: 1024; 0: no limit)',
  }),
  'build-memory': Flags.integer({
    helpValue: 'MB',
    description: 'maximum memory of all processes of a build together (default: 0, no limit)',
  }),
  'build-address-space': Flags.integer({
    helpValue: 'MB',
    description: 'maximum address space of each process of a build (default: 0, no limit)',
  }),
  'build-processes': Flags.integer({
    helpValue: 'NUMBER',
    description: 'maximum number of processes of a build (default: 2000; 0: no limit)',
  }),
  'build-open-files': Flags.integer({
    helpValue: 'NUMBER',
    description: 'maximum number of open files of each process of a build (default: 4096; 0: no limit)',
  }),
  'build-file-size': Flags.integer({
    helpValue: 'MB',
    description: 'maximum size of a file that a build writes (default: 16384; 0: no limit)',
  }),
  'build-disk-free': Flags.integer({
    helpValue: 'MB',
    description: 'stop a build when less disk space than this is free (default: 256; 0: no limit)',
  }),
  'build-niceness': Flags.integer({
    helpValue: '0..19',
    description: 'niceness of builds: the higher, the lower their priority (default: 10)',
  }),
  'build-env': Flags.string({
    helpValue: 'NAME=VALUE',
    multiple: true,
    multipleNonGreedy: true,
    description: 'environment variable for builds, which can read it: not for secrets; can be repeated',
  }),
  sandbox: Flags.string({
    options: ['auto', 'required', 'none'],
    description:
      'run builds in a bubblewrap sandbox: auto, if bubblewrap works here; required, or refuse to start; none, never (default: auto)',
  }),
  'sandbox-network': Flags.string({
    options: ['on', 'requirements', 'off'],
    description:
      'network access in the sandbox: on, for builds; requirements, only for pip to download build requirements; off (default: on)',
  }),
  'build-path': Flags.string({
    helpValue: 'DIR',
    multiple: true,
    multipleNonGreedy: true,
    description: "additional folder of programs for builds, e.g. a Rust toolchain's bin; can be repeated",
  }),
  ...tlsFlags,
  'slave-key': Flags.string({
    helpValue: 'FILE',
    description: "file with this slave's NATS key, from piw slaves add",
  }),
  'slave-user': Flags.string({ helpValue: 'NAME', description: 'name that this slave was added with' }),
  prefix: prefixFlag,
  python: Flags.string({
    helpValue: 'PATH',
    multiple: true,
    multipleNonGreedy: true,
    description: 'build with this interpreter (default: python3); can be repeated',
  }),
  label: Flags.string({
    helpValue: 'TEXT',
    description: 'display name of the slave (default: the hostname)',
  }),
  'work-dir': Flags.string({
    helpValue: 'DIR',
    description: "folder for builds (default: a private folder in the system's temporary folder)",
  }),
  'min-disk-free': Flags.integer({
    helpValue: 'MB',
    description: 'take no builds with less disk space free than this (default: 1024; 0: no minimum)',
  }),
  'min-memory-free': Flags.integer({
    helpValue: 'MB',
    description: 'take no builds with less memory free than this (default: 64; 0: no minimum)',
  }),
  'max-load': Flags.integer({
    helpValue: 'NUMBER',
    description: 'take no builds while the load average is above this (default: 0, no maximum)',
  }),
  'max-temperature': Flags.integer({
    helpValue: 'CELSIUS',
    description: 'take no builds while the machine is hotter than this (default: 85; 0: no maximum)',
  }),
  'allow-exposed': Flags.boolean({
    description: "build without a sandbox even if builds could read the slave's key or change its code",
  }),
};
