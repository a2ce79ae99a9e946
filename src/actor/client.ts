import { PiwError } from '../errors.js';
import type { RequestOptions, Bus } from '../bus/bus.js';
import type { Answer, Body, Protocol, VerbSpecs } from '../protocols/protocol.js';

/** One side of a conversation: validates messages before they are sent, and answers before they are used. */
export class ProtocolClient<V extends VerbSpecs> {
  readonly #bus: Bus;
  readonly #protocol: Protocol<V>;
  readonly #subject: (verb: string) => string;
  readonly #defaults: RequestOptions;

  /**
   * `tokens` come between the prefix and the verb; by default that is the protocol's name. `defaults` are the options
   * that a request does not set itself.
   */
  constructor(
    bus: Bus,
    protocol: Protocol<V>,
    tokens: readonly string[] = [protocol.name],
    defaults: RequestOptions = {},
  ) {
    this.#bus = bus;
    this.#protocol = protocol;
    this.#subject = (verb) => bus.subject(...tokens, verb);
    this.#defaults = defaults;
  }

  /** Sends a request and returns its answer. Throws a PiwError for an ERROR, or if there is no answer (Bus.request). */
  async request<K extends keyof V & string>(
    verb: K,
    body: Body<V, K>,
    options?: RequestOptions,
  ): Promise<Answer<V, K>> {
    const array = this.#protocol.pack(verb, body);
    const answer = await this.#bus.request(this.#subject(verb), array, { ...this.#defaults, ...options });
    try {
      return this.#protocol.unpackAnswer(verb, answer);
    } catch (error) {
      if (error instanceof PiwError) this.#bus.onErrorAnswer(error);
      throw error;
    }
  }

  /** Publishes a message to whoever listens; it may be lost. */
  async publish<K extends keyof V & string>(verb: K, body: Body<V, K>): Promise<void> {
    await this.#bus.publish(this.#subject(verb), this.#protocol.pack(verb, body));
  }
}
