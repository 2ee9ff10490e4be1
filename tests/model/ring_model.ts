/**
 * A model of one ring of a circuit, for the explorer: the steps of lib/include/csvn/ring.h, one shared load or store at a
 * time, on two processors with x86's store buffers (TSO).
 *
 * Theory of operation. The *producer* sends bytes and ends its stream; the *consumer* receives them, and may stop or
 * close early. Each has a store buffer: stores go into it in order and reach memory at any later time; loads see the
 * own buffer first; a fence waits until the buffer is empty. A doorbell is a store like any other (it is put on a
 * virtqueue in memory), so it comes after what was stored before it; pending doorbells to one side merge, and are
 * delivered at any later time. A delivery disarms the side and wakes it. A side that begins to wait notices deliveries
 * from then on, as Linux' wait queues do. Spurious wakes happen too, but nothing may depend on them.
 *
 * A side may have two *hands* that take turns: a program that has mapped the circuit, and its kernel. Each remembers a cursor, what it
 * saw of the peer's, and the sequence that it has rung for; before it goes on, it takes the cursor from the own control page.
 *
 * Bytes are the cursors at which they were written, so that a wrong or torn read shows.
 *
 * @module
 */

import { type Model, type Step, Violation } from "./explorer.ts";

/** State bits of a control page. */
const FIN = 1, CLOSED = 2, RESET = 4;

/** Ways to break the protocol, each of which the model must find. */
export type Mutation =
  | "no fence in arm_rx"
  | "no fence in arm_tx"
  | "no fence in wants_rx"
  | "no fence in wants_tx"
  | "no fence in wants_state"
  | "no second look before the reader sleeps"
  | "no second look before the writer sleeps"
  | "tail is loaded before state"
  | "rings only when more than half is free"
  | "poll calls one free byte writable"
  | "marks the sequence as rung when it does not ring"
  | "state changes are not rung"
  | "tail is published before the bytes"
  | "head is released before the bytes are copied"
  | "room is the whole ring's"
  | "a delivery wakes before it disarms"
  | "a delivery never disarms"
  | "a hand does not take the other's cursor"
  | "a hand takes the cursor, and believes what it saw of the peer's before"
  | "a hand believes that the other has rung"
  | "the device forgets a doorbell that comes while it delivers";

/** What is modelled. */
export interface RingOptions {
  /** Bytes of the ring. */
  readonly size: number;
  /** Bytes that the producer sends. */
  readonly bytes: number;
  /** The writer: blocks in send() when the ring is full, or polls until it is writable. */
  readonly writer: "blocks" | "polls";
  /** Arm before each sleep, or only when not armed since the last wake. */
  readonly arming: "always" | "when not armed";
  /** How the producer may end: FIN after all bytes, or also RESET after any number of them. */
  readonly resets?: boolean;
  /** How the consumer may end early, after any number of bytes: it stops reading, or closes. */
  readonly ends?: "stops" | "closes";
  /** Spurious wakes of each side. */
  readonly spurious?: number;
  /** The program's beside the kernel's. */
  readonly hands?: 1 | 2;
  readonly mutation?: Mutation;
}

// Shared words, in memory and in store buffers.
const TAIL = 0, PRODUCER_STATE = 1, HEAD = 2, CONSUMER_STATE = 3, SLEEP_RX = 4, SLEEP_TX = 5;
/** Doorbells: to the consumer, to the producer. */
const BELL_CONSUMER = 6, BELL_PRODUCER = 7;
const SLOTS = 8;

/** What a hand knows: the own cursor, the peer's, and the sequence that it has rung for. */
interface Hand {
  readonly cursor: number;
  readonly seen: number;
  readonly rung: number;
}

/** A side: its private memory (struct csvn_end), where it is, and its store buffer. */
interface Side {
  at: string;
  /** tail of the producer, head of the consumer. */
  cursor: number;
  /** peer_head of the producer, peer_tail of the consumer. */
  seen: number;
  rung: number;
  sleep: number;
  armed: boolean;
  woken: boolean;
  /** Where it goes on after a sleep. */
  readonly resume: string;
  /** A delivery that has done half of its work. */
  half: boolean;
  /** Bytes of the transfer under way. */
  count: number;
  /** The peer's state bits, as loaded last. */
  state: number;
  spurious: number;
  /** What the hand whose turn it is not knows. */
  other: Hand;
  /** Pairs of word and value, oldest first. */
  buffer: number[];
}

interface State {
  memory: number[];
  producer: Side;
  consumer: Side;
  /** Bytes after which the consumer ends early. */
  until: number;
}

type Name = "producer" | "consumer";

function side(at: string, resume: string, spurious: number): Side {
  return {
    at,
    resume,
    cursor: 0,
    seen: 0,
    rung: 0,
    sleep: 0,
    armed: false,
    woken: false,
    half: false,
    count: 0,
    state: 0,
    spurious,
    other: { cursor: 0, seen: 0, rung: 0 },
    buffer: [],
  };
}

function copy(state: State): State {
  return {
    memory: [...state.memory],
    producer: { ...state.producer, buffer: [...state.producer.buffer] },
    consumer: { ...state.consumer, buffer: [...state.consumer.buffer] },
    until: state.until,
  };
}

/**
 * Sleep sequences matter by their order alone, so the key has them relative to what is in memory. A rung sequence that is
 * older than that will never be equal to one that is loaded, however old it is.
 */
function keyOf(s: Side, memory: readonly number[], own: number, peers: number): string {
  const flags = +s.armed + 2 * +s.woken + 4 * +s.half;
  const relative = s.at === "wants_tx 2" ? s.count - memory[peers]! : s.count;
  const rung = Math.max(-1, s.rung - memory[peers]!);
  // Cursors only grow, so what a hand that is behind saw will not be used any more; but for mutations, which do.
  const { other } = s;
  const hand = `${other.cursor},${other.seen},${Math.max(-1, other.rung - memory[peers]!)}`;
  const buffer = s.buffer.map((value, i) => i % 2 === 1 && s.buffer[i - 1] === own ? value - memory[own]! : value);
  return `${s.at},${s.cursor},${s.seen},${rung},${flags},${relative},${s.state},${s.spurious},${hand},${buffer}`;
}

/** Places at which a side does nothing until it is woken, or nothing at all any more. */
const RESTS = new Set(["asleep", "done", "stopped", "ended"]);

/** The model. */
export class RingModel implements Model<State> {
  readonly #half: number;

  constructor(readonly options: RingOptions) {
    this.#half = Math.floor(options.size / 2);
  }

  *initial(): Iterable<State> {
    const { size, bytes, writer, spurious = 0, ends } = this.options;
    for (let until = ends ? 0 : bytes + 1; until <= bytes + 1; until++) {
      yield {
        memory: Array.from({ length: SLOTS + size }, () => 0),
        producer: side("send", writer === "blocks" ? "send" : "wait", spurious),
        consumer: side("receive", "receive", spurious),
        until,
      };
    }
  }

  key(state: State): string {
    const { memory, producer, consumer, until } = state;
    const words = memory.filter((_, word) => word !== SLEEP_RX && word !== SLEEP_TX);
    return `${words}|${keyOf(producer, memory, SLEEP_TX, SLEEP_RX)}|${
      keyOf(consumer, memory, SLEEP_RX, SLEEP_TX)
    }|${until}`;
  }

  *steps(state: State): Iterable<Step<State>> {
    for (const name of ["producer", "consumer"] as const) {
      yield* this.#flush(state, name);
      yield* this.#deliver(state, name);
      const s = state[name];
      if (s.at === "asleep" && s.spurious > 0) {
        const next = copy(state);
        next[name].spurious--;
        this.#wake(next[name], "both");
        yield { label: `${name}: spurious wake`, next };
      }
      yield* name === "producer" ? this.#produce(state) : this.#consume(state);
    }
  }

  check(state: State, steps: readonly Step<State>[]): void {
    if (steps.some(({ label }) => !label.endsWith("spurious wake"))) return;
    const { memory, producer, consumer, until } = state;
    if (!RESTS.has(producer.at) || !RESTS.has(consumer.at)) {
      throw new Violation(`stuck: producer ${producer.at}, consumer ${consumer.at}`);
    }
    const used = memory[TAIL]! - memory[HEAD]!;
    if (consumer.at === "asleep" && (used > 0 || memory[PRODUCER_STATE] !== 0)) {
      throw new Violation("lost wake-up: the reader sleeps, and there is something to read");
    }
    if (producer.at === "asleep" && (used <= this.#half || memory[CONSUMER_STATE] !== 0)) {
      throw new Violation("lost wake-up: the writer sleeps, and half of the ring is free or the peer has closed");
    }
    if (producer.at === "asleep" && this.options.writer === "polls" && used < this.#pollsWritableAbove) {
      throw new Violation("lost wake-up: the writer polls, and its socket is writable");
    }
    if (until > this.options.bytes && consumer.at !== "ended") {
      throw new Violation("the stream did not come to its end");
    }
  }

  get #pollsWritableAbove(): number {
    return this.#is("poll calls one free byte writable") ? this.options.size : this.#half + 1;
  }

  #is(mutation: Mutation): boolean {
    return this.options.mutation === mutation;
  }

  *#flush(state: State, name: Name): Iterable<Step<State>> {
    if (state[name].buffer.length === 0) return;
    const next = copy(state);
    const [word, value] = next[name].buffer.splice(0, 2) as [number, number];
    next.memory[word] = value;
    yield { label: `${name}'s store of word ${word} = ${value} reaches memory`, next };
  }

  *#deliver(state: State, name: Name): Iterable<Step<State>> {
    const bell = name === "consumer" ? BELL_CONSUMER : BELL_PRODUCER;
    if (state[name].half) {
      const next = copy(state);
      next[name].half = false;
      if (this.#is("a delivery wakes before it disarms")) next[name].armed = false;
      else next.memory[bell] = 0;
      yield { label: `delivery to the ${name} ends`, next };
    } else if (state.memory[bell] !== 0) {
      const next = copy(state);
      if (this.#is("the device forgets a doorbell that comes while it delivers")) {
        next[name].half = true;
        this.#wake(next[name], "both");
      } else {
        next.memory[bell] = 0;
        next[name].half = this.#is("a delivery wakes before it disarms");
        this.#wake(next[name], next[name].half || this.#is("a delivery never disarms") ? "wake" : "both");
      }
      yield { label: `delivery to the ${name}`, next };
    }
  }

  #wake(s: Side, how: "both" | "wake"): void {
    if (how === "both") s.armed = false;
    s.woken = true;
    if (s.at === "asleep") s.at = s.resume;
  }

  /** A step of a side: `act` changes the copied state and names the next place. */
  #step(state: State, name: Name, label: string, act: (next: State, s: Side) => string): Step<State> {
    const next = copy(state);
    next[name].at = act(next, next[name]);
    return { label: `${name}: ${label}`, next };
  }

  /** csvn_tx_take, csvn_rx_take: the other hand's turn, where one ends and the next transfer begins. */
  *#change(state: State, name: Name): Iterable<Step<State>> {
    if (this.options.hands !== 2) return;
    yield this.#step(state, name, "the other hand goes on", (next, s) => {
      const { cursor, seen, rung, other } = s;
      s.other = { cursor, seen, rung };
      s.rung = this.#is("a hand believes that the other has rung")
        ? next.memory[name === "producer" ? SLEEP_RX : SLEEP_TX]!
        : other.rung;
      if (this.#is("a hand does not take the other's cursor")) s.cursor = other.cursor;
      if (
        s.cursor === other.cursor || this.#is("a hand takes the cursor, and believes what it saw of the peer's before")
      ) {
        s.seen = other.seen;
      } else {
        s.seen = name === "producer" ? cursor - this.options.size : cursor;
      }
      return s.at;
    });
  }

  #load(state: State, s: Side, word: number): number {
    for (let i = s.buffer.length - 2; i >= 0; i -= 2) if (s.buffer[i] === word) return s.buffer[i + 1]!;
    return state.memory[word]!;
  }

  /** Is a fence passed? Until then the side waits. */
  #fenced(s: Side, mutation: Mutation): boolean {
    return s.buffer.length === 0 || this.#is(mutation);
  }

  /** Sleep, unless a delivery came since the side began to wait. */
  #sleep(s: Side): string {
    return s.woken ? s.resume : "asleep";
  }

  /** csvn_tx_room: head is loaded, and checked. */
  #room(next: State, s: Side, want: number): number {
    const { size } = this.options;
    if (this.#is("room is the whole ring's")) return size;
    const used = s.cursor - s.seen;
    if (used > size) throw new Violation("a producer counts below zero"); // unsigned numbers would be huge
    if (size - used < want) {
      const head = this.#load(next, s, HEAD);
      if (head < s.seen || head > s.cursor) {
        throw new Violation(`head ${head} is a lie: tail ${s.cursor}, was ${s.seen}`);
      }
      s.seen = head;
    }
    return size - (s.cursor - s.seen);
  }

  /** csvn_rx_ready: tail is loaded, and checked. */
  #ready(next: State, s: Side): number {
    if (s.seen < s.cursor) throw new Violation("a consumer counts below zero");
    if (s.seen - s.cursor < 1) {
      const tail = this.#load(next, s, TAIL);
      if (tail < s.seen || tail - s.cursor > this.options.size) {
        throw new Violation(`tail ${tail} is a lie: head ${s.cursor}, was ${s.seen}`);
      }
      s.seen = tail;
    }
    return s.seen - s.cursor;
  }

  *#produce(state: State): Iterable<Step<State>> {
    const { size, bytes, writer, resets } = this.options;
    const { at, cursor, count } = state.producer;
    const step = (label: string, act: (next: State, s: Side) => string): Step<State> =>
      this.#step(state, "producer", label, act);
    switch (at) {
      case "send":
        yield* this.#change(state, "producer");
        for (const bit of [...(cursor === bytes ? [FIN] : []), ...(resets ? [RESET] : [])]) {
          yield step(`sets ${bit === FIN ? "FIN" : "RESET"}`, (_, s) => {
            s.buffer.push(PRODUCER_STATE, bit);
            return "wants_state";
          });
        }
        if (cursor === bytes) return;
        yield step("loads the peer's state", (next, s) => {
          return this.#load(next, s, CONSUMER_STATE) & CLOSED ? "done" : "room";
        });
        return;
      case "wants_state":
        yield* this.#wantsState(state, "producer", SLEEP_RX, BELL_CONSUMER, "done");
        return;
      case "room":
        yield step("looks for room", (next, s) => (s.count = this.#room(next, s, 1)) > 0 ? "write" : "wait");
        return;
      case "write":
        for (let n = 1; n <= Math.min(count, bytes - cursor); n++) {
          yield step(`writes and publishes ${n}`, (_, s) => {
            const tail = [TAIL, cursor + n];
            const slots = Array.from({ length: n }, (_, i) => [SLOTS + (cursor + i) % size, cursor + i + 1]).flat();
            s.buffer.push(
              ...(this.#is("tail is published before the bytes") ? [...tail, ...slots] : [...slots, ...tail]),
            );
            s.cursor += n;
            s.count = 0;
            return "wants_rx";
          });
        }
        return;
      case "wants_rx":
        if (!this.#fenced(state.producer, "no fence in wants_rx")) return;
        yield step("fence; loads sleep_rx", (next, s) => {
          const sleep = this.#load(next, s, SLEEP_RX);
          if (sleep !== s.rung) s.buffer.push(BELL_CONSUMER, 1);
          s.rung = sleep;
          return "send";
        });
        return;
      case "wait":
      case "arm":
        yield this.#beginWait(state, "producer", SLEEP_TX);
        return;
      case "look":
        if (!this.#fenced(state.producer, "no fence in arm_tx")) return;
        yield step("fence; looks again for state", (next, s) => {
          if (this.#is("no second look before the writer sleeps")) return this.#sleep(s);
          return this.#load(next, s, CONSUMER_STATE) & CLOSED ? "done" : "look 2";
        });
        return;
      case "look 2":
        yield step("looks again for room", (next, s) => {
          // Room enough: any for a blocking writer, half of the ring for one that polls.
          const want = writer === "blocks" ? 1 : size - this.#pollsWritableAbove + 1;
          return this.#room(next, s, want) >= want ? "send" : this.#sleep(s);
        });
        return;
    }
  }

  /** csvn_wants_state, of a peer that does not watch: who sleeps has armed. (That resets ring always is not needed for that.) */
  *#wantsState(state: State, name: Name, word: number, bell: number, then: string): Iterable<Step<State>> {
    if (!this.#fenced(state[name], "no fence in wants_state")) return;
    yield this.#step(state, name, "fence; loads the peer's sequence", (next, s) => {
      const wants = this.#load(next, s, word) !== s.rung;
      if (wants && !this.#is("state changes are not rung")) s.buffer.push(bell, 1);
      return then;
    });
  }

  /** Two steps, since a delivery may come in between: woken is cleared, then armed when need be. */
  #beginWait(state: State, name: Name, word: number): Step<State> {
    if (state[name].at === "wait") {
      return this.#step(state, name, "begins to wait", (_, s) => {
        s.woken = false;
        return s.armed && this.options.arming === "when not armed" ? "look" : "arm";
      });
    }
    return this.#step(state, name, "arms", (_, s) => {
      s.armed = true;
      s.buffer.push(word, ++s.sleep);
      return "look";
    });
  }

  *#consume(state: State): Iterable<Step<State>> {
    const { size, ends } = this.options;
    const { at, cursor, seen } = state.consumer;
    const swapped = this.#is("tail is loaded before state");
    const early = this.#is("head is released before the bytes are copied");
    const step = (label: string, act: (next: State, s: Side) => string): Step<State> =>
      this.#step(state, "consumer", label, act);
    const loadState = (next: State, s: Side): void => void (s.state = this.#load(next, s, PRODUCER_STATE));
    switch (at) {
      case "receive":
        yield* this.#change(state, "consumer");
        if (cursor === state.until) {
          yield step(`${ends} early`, (_, s) => {
            if (ends !== "closes") return "stopped";
            s.buffer.push(CONSUMER_STATE, CLOSED | RESET);
            return "wants_state";
          });
        } else if (swapped) yield step("loads tail", (next, s) => (this.#ready(next, s), "ready"));
        else yield step("loads the peer's state", (next, s) => (loadState(next, s), "ready"));
        return;
      case "wants_state":
        yield* this.#wantsState(state, "consumer", SLEEP_TX, BELL_PRODUCER, "stopped");
        return;
      case "ready":
        yield step(swapped ? "loads the peer's state" : "loads tail", (next, s) => {
          if (swapped) loadState(next, s);
          else this.#ready(next, s);
          return this.#received(next, s);
        });
        return;
      case "read":
        for (let n = 1; n <= Math.min(seen - cursor, state.until - cursor); n++) {
          yield step(early ? `releases ${n}` : `copies and releases ${n}`, (next, s) => {
            if (!early) this.#read(next, s, cursor, n);
            s.cursor += n;
            s.count = early ? n : 0;
            s.buffer.push(HEAD, s.cursor);
            return early ? "copy" : this.#releasedTo(s);
          });
        }
        return;
      case "copy":
        yield step("copies", (next, s) => {
          this.#read(next, s, s.cursor - s.count, s.count);
          s.count = 0;
          return this.#releasedTo(s);
        });
        return;
      case "wants_tx":
        if (!this.#fenced(state.consumer, "no fence in wants_tx")) return;
        yield step("fence; loads sleep_tx", (next, s) => {
          const sleep = this.#load(next, s, SLEEP_TX);
          if (sleep === s.rung) return "receive";
          s.count = sleep;
          if (this.#is("marks the sequence as rung when it does not ring")) s.rung = sleep;
          return "wants_tx 2";
        });
        return;
      case "wants_tx 2":
        yield step("loads tail to see what is used", (next, s) => {
          const used = this.#load(next, s, TAIL) - s.cursor;
          const most = this.#is("rings only when more than half is free") ? this.#half - 1 : this.#half;
          if (used <= most || used > size) {
            s.rung = s.count;
            s.buffer.push(BELL_PRODUCER, 1);
          }
          s.count = 0;
          return "receive";
        });
        return;
      case "wait":
      case "arm":
        yield this.#beginWait(state, "consumer", SLEEP_RX);
        return;
      case "look":
        if (!this.#fenced(state.consumer, "no fence in arm_rx")) return;
        yield step("fence; looks again for state", (next, s) => {
          if (this.#is("no second look before the reader sleeps")) return this.#sleep(s);
          loadState(next, s);
          return "look 2";
        });
        return;
      case "look 2":
        yield step("looks again for bytes", (next, s) => {
          return this.#ready(next, s) > 0 || s.state !== 0 ? "receive" : this.#sleep(s);
        });
        return;
    }
  }

  /** State and tail are loaded: read, or the end, or wait. */
  #received(next: State, s: Side): string {
    if (s.seen > s.cursor) return "read";
    if (s.state === 0) return "wait";
    // End of file, or ECONNRESET: nothing that was sent may be missing.
    if (s.cursor !== next.producer.cursor) {
      throw new Violation(`end after ${s.cursor} of ${next.producer.cursor} bytes`);
    }
    return "ended";
  }

  /** csvn_wants_tx begins with what is known without a look. */
  #releasedTo(s: Side): string {
    return s.seen - s.cursor > this.#half ? "receive" : "wants_tx";
  }

  #read(next: State, s: Side, from: number, count: number): void {
    for (let i = from; i < from + count; i++) {
      const byte = this.#load(next, s, SLOTS + i % this.options.size);
      if (byte !== i + 1) throw new Violation(`byte ${i} reads ${byte - 1}`);
    }
  }
}
