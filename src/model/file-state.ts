import type { FileTuple } from './fields.js';

/**
 * The maximum size of a small file: it is sent as one chunk, kept in memory until it is published, and sent again
 * in full after an interruption.
 */
export const MAX_SMALL_FILE_BYTES = 128 * 1024;

/** The state of one wheel: the facts from its name and contents, and whether it has arrived. */
export interface FileState {
  readonly filename: string;
  /** Bytes. */
  readonly filesize: number;
  /** SHA-256 of the contents, 64 hex digits. */
  readonly filehash: string;
  readonly package_tag: string;
  readonly package_version_tag: string;
  readonly py_version_tag: string;
  readonly abi_tag: string;
  readonly platform_tag: string;
  readonly requires_python: string | null;
  /** The system packages that the wheel needs, by package manager. */
  readonly dependencies: Readonly<Record<string, readonly string[]>>;
  readonly transferred: boolean;
}

/** Returns the tuple that messages carry; its order is that of FileTuple in model/fields.ts. */
export function fileToMessage(file: FileState): FileTuple {
  return [
    file.filename,
    file.filesize,
    file.filehash,
    file.package_tag,
    file.package_version_tag,
    file.py_version_tag,
    file.abi_tag,
    file.platform_tag,
    file.requires_python,
    Object.fromEntries(Object.entries(file.dependencies).map(([k, v]) => [k, [...v]])),
    file.transferred,
  ];
}

export function fileFromMessage(tuple: FileTuple): FileState {
  const [filename, filesize, filehash, package_tag, package_version_tag, ...rest] = tuple;
  const [py_version_tag, abi_tag, platform_tag, requires_python, dependencies, transferred] = rest;
  return {
    filename,
    filesize,
    filehash,
    package_tag,
    package_version_tag,
    py_version_tag,
    abi_tag,
    platform_tag,
    requires_python,
    dependencies,
    transferred,
  };
}
