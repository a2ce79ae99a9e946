import tseslint from 'typescript-eslint';

/** Each broker or database client stands behind one adapter; dependency-cruiser holds the rest of the architecture. */
const nats = { name: 'nats', message: 'Only src/bus imports nats.' };
const pg = { name: 'pg', message: 'Only src/database imports pg.' };
const restrictImports = (...paths) => ({ '@typescript-eslint/no-restricted-imports': ['error', { paths }] });

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'coverage/', '.tap/', 'test/fixtures/'] },
  {
    name: 'everything',
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-constant-condition': 'error',
      'no-control-regex': 'error',
      'no-debugger': 'error',
      'no-empty': 'error',
      'no-self-compare': 'error',
      'no-unreachable': 'error',
      'no-unsafe-finally': 'error',
      'no-unsafe-optional-chaining': 'error',
      'no-unused-private-class-members': 'error',
      'no-useless-catch': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'require-yield': 'error',
      'use-isnan': 'error',
    },
  },
  {
    name: 'typescript',
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      ...restrictImports(nats, pg),
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/dot-notation': ['error', { allowIndexSignaturePropertyAccess: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'CallExpression[callee.property.name="subscribe"] > ObjectExpression > Property[key.name="callback"]',
          message:
            'A throw in a callback silently stops the connection’s read loop: read subscriptions with for await.',
        },
      ],
    },
  },
  { name: 'bus', files: ['src/bus/**'], rules: restrictImports(pg) },
  { name: 'database', files: ['src/database/**'], rules: restrictImports(nats) },
  {
    name: 'tests',
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-floating-promises': [
        'error',
        // tap itself waits for the tests of a file.
        {
          allowForKnownSafePromises: [
            { from: 'package', name: 'PromiseWithSubtest', package: '@tapjs/core' },
          ],
        },
      ],
    },
  },
  {
    name: 'javascript',
    files: ['**/*.mjs', '**/*.cjs', '**/*.js'],
    rules: { 'no-unused-vars': 'error' },
  },
  {
    name: 'set-up',
    files: ['src/setup.mjs', 'src/setup/*.mjs'],
    languageOptions: { ecmaVersion: 2020 },
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'ChainExpression, LogicalExpression[operator="??"], ImportDeclaration[source.value=/^node:/]',
          message: 'An old Node must be able to read this far, to be told that it is too old.',
        },
      ],
    },
  },
);
