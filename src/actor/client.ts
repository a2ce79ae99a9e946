import type { RequestOptions, Bus } from '../bus/bus.js';
import type { Answer, Body, Protocol, VerbSpecs } from '../protocols/protocol.js';

/** One side of a conversation: what it says is checked before it leaves, what comes back before use. */
export class ProtocolClient<V extends VerbSpecs> {
  readonly #bus: Bus;
  readonly #protocol: Protocol<V>;
  readonly #subject: (verb: string) => string;
  readonly #defaults: RequestOptions;

  /**
   * `tokens` stand between the prefix and the verb; without any, the protocol's name does. What a question
   * itself doesn't say is as in `defaults`.
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

  /** The answer to one message. An ERROR is raised as a PiwError; so is no answer (Bus.ask). */
  async request<K extends keyof V & string>(
    verb: K,
    body: Body<V, K>,
    options?: RequestOptions,
  ): Promise<Answer<V, K>> {
    const array = this.#protocol.pack(verb, body);
    const answer = await this.#bus.request(this.#subject(verb), array, { ...this.#defaults, ...options });
    return this.#protocol.unpackAnswer(verb, answer);
  }

  /** Says it to whoever listens; it may be lost. */
  async publish<K extends keyof V & string>(verb: K, body: Body<V, K>): Promise<void> {
    await this.#bus.publish(this.#subject(verb), this.#protocol.pack(verb, body));
  }
}
