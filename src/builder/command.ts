/** What pip is asked to build, and where it looks. */
export interface PipBuild {
  readonly package: string;
  readonly version: string;
  readonly wheels: string;
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
}

/**
 * pip's arguments for one build. `--no-binary :all:` holds for the build's requirements, too: pip
 * passes it on to the environment that it isolates the build in, so everything comes from source.
 * `===` asks for the version as it is spelled, which also finds those that aren't PEP 440's.
 */
export function pipArguments({ package: name, version, wheels }: PipBuild): readonly string[] {
  const requirement = /^[0-9][0-9A-Za-z.!+_-]*$/.test(version)
    ? `${name}==${version}`
    : `${name}===${version}`;
  return [
    ...['-m', 'pip', 'wheel', '--no-deps', '--no-binary', ':all:', '--wheel-dir', wheels],
    ...[
      '--no-cache-dir',
      '--no-input',
      '--disable-pip-version-check',
      '--progress-bar',
      'off',
      '--no-color',
      '--verbose',
    ],
    requirement,
  ];
}

/** The addresses go by the environment: arguments are seen by everybody on the machine. */
export function pipEnvironment({ indexUrl, extraIndexUrl }: PipBuild): Readonly<Record<string, string>> {
  const secure = (url: string) =>
    !url.startsWith('http://') || /^http:\/\/(?:[^@/]*@)?(?:localhost|127\.|\[::1\])/.test(url);
  const plain = [indexUrl, extraIndexUrl ?? '']
    .filter((url) => url !== '' && !secure(url))
    .map((url) => new URL(url).host);
  return {
    PIP_INDEX_URL: indexUrl,
    ...(extraIndexUrl === null ? {} : { PIP_EXTRA_INDEX_URL: extraIndexUrl }),
    ...(plain.length === 0 ? {} : { PIP_TRUSTED_HOST: plain.join(' ') }),
  };
}
