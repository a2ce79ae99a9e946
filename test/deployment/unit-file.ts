import { readFileSync } from 'node:fs';

/** A unit of systemd: the values of its keys, by section. */
export class UnitFile {
  readonly #values = new Map<string, string[]>();

  /** `instance` is what stands for %i. */
  constructor(path: string, instance: string) {
    let section = '';
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      const [, name] = /^\[(.*)\]$/.exec(line) ?? [];
      const [, key, value = ''] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
      if (name !== undefined) section = name;
      else if (key !== undefined) {
        const values = this.#values.get(`${section}.${key}`) ?? [];
        this.#values.set(`${section}.${key}`, [...values, value.replaceAll('%i', instance)]);
      }
    }
  }

  /** Returns all values of a key such as `Service.Environment`. */
  all(key: string): readonly string[] {
    return this.#values.get(key) ?? [];
  }

  /** Returns the words of all values of a key. */
  words(key: string): readonly string[] {
    return this.all(key).flatMap((value) => value.split(/\s+/).filter((word) => word !== ''));
  }

  /** Returns the last value of a key, or undefined. */
  last(key: string): string | undefined {
    return this.all(key).at(-1);
  }

  isOn(key: string): boolean {
    return ['yes', 'true', 'on', '1'].includes(this.last(key) ?? 'no');
  }
}
