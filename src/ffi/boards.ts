/**
 * The boards between ports (`lib/src/board.h`, `lib/src/peers.h`): for each two ports between whose VMs there are circuits, memory on which either marks whose
 * circuits the other is to wake, and a bell for each.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";
import { checked } from "../errno.ts";
import { Command, Layout } from "./abi.ts";
import { OwnedDescriptor } from "./descriptor.ts";
import type { Library } from "./library.ts";
import { Places } from "./places.ts";
import type { Port } from "./port.ts";

const PLACES = 1 << 20;
/** Milliseconds that a board stays without a circuit. */
const IDLE_MS = 60_000;

/** A board as one of its two ports knows it. */
export interface PortBoard {
  readonly port: Port;
  /** The port's number for it. */
  readonly number: number;
  /** Those that the other port marks for circuits of this one. */
  readonly places: Places;
}

interface Board {
  readonly sides: readonly [PortBoard, PortBoard];
  idle: Timer | undefined;
  removed: boolean;
}

/** All boards. */
export class Boards {
  readonly #boards = new Map<Port, Map<Port, Board>>();
  readonly #numbers = new Map<Port, Places>();

  constructor(readonly library: Library, readonly clock: Clock) {}

  /**
   * The board between two ports, as the first knows it and as the second does. It is made when there is none.
   *
   * @throws {SystemError} EMFILE.
   */
  between(a: Port, b: Port): [PortBoard, PortBoard] {
    const known = this.#of(a).get(b);
    const board = known ?? this.#make(a, b);
    board.idle?.cancel();
    board.idle = undefined;
    const [first, second] = board.sides;
    return first.port === a ? [first, second] : [second, first];
  }

  /** A port is gone: the others forget what they had in common. */
  portGone(port: Port): void {
    for (const board of this.#of(port).values()) this.#remove(board);
    this.#boards.delete(port);
    this.#numbers.delete(port);
  }

  #of(port: Port): Map<Port, Board> {
    let boards = this.#boards.get(port);
    if (!boards) this.#boards.set(port, boards = new Map());
    return boards;
  }

  #numbersOf(port: Port): Places {
    let numbers = this.#numbers.get(port);
    if (!numbers) this.#numbers.set(port, numbers = new Places(1 << 16));
    return numbers;
  }

  #make(a: Port, b: Port): Board {
    const { symbols } = this.library;
    using stack = new DisposableStack();
    const open = (what: string, fd: number): OwnedDescriptor =>
      stack.use(new OwnedDescriptor(this.library, checked(what, fd)));
    const memory = open("make a board", symbols.csvn_board_create());
    const bells = [a, b].map(() => open("make a bell", symbols.csvn_eventfd_create()));
    const side = (port: Port): PortBoard => ({
      port,
      number: this.#numbersOf(port).take()!,
      places: new Places(PLACES, () => this.#emptied(board)),
    });
    const board: Board = { sides: [side(a), side(b)], idle: undefined, removed: false };
    const given = board.sides.map(({ port, number }, i) =>
      this.#give(port, number, memory.fd, bells[1 - i]!.fd, bells[i]!.fd, i)
    );
    // They are the ports' once both have them.
    const mine = stack.move();
    const close = () => mine.dispose();
    Promise.all(given).then(close, close);
    this.#of(a).set(b, board);
    this.#of(b).set(a, board);
    return board;
  }

  async #give(port: Port, number: number, memory: number, bell: number, ownBell: number, side: number): Promise<void> {
    const files = [memory, bell, ownBell].map((fd) => port.give(fd));
    const bytes = new Uint8Array(Layout.board.size);
    const view = new DataView(bytes.buffer);
    view.setInt32(Layout.board.memory, files[0]!.file, true);
    view.setInt32(Layout.board.bell, files[1]!.file, true);
    view.setInt32(Layout.board.own_bell, files[2]!.file, true);
    view.setUint32(Layout.board.side, side, true);
    // One that cannot take it has circuits whose doorbells are lost, and tells so when it is asked for its outcome.
    const taken = port.ask("take a board", Command.BOARD, number, 0, bytes).catch(() =>
      port.fail("it cannot take a board")
    );
    await Promise.all([...files.map(({ given }) => given), taken]);
  }

  #emptied(board: Board): void {
    if (board.removed || board.sides.some(({ places }) => places.used > 0)) return;
    board.idle ??= this.clock.after(IDLE_MS, () => this.#remove(board));
  }

  #remove(board: Board): void {
    board.removed = true;
    board.idle?.cancel();
    const [a, b] = board.sides;
    for (const [side, other] of [[a, b], [b, a]] as const) {
      this.#boards.get(side.port)?.delete(other.port);
      side.port.afterwards(() => this.#numbers.get(side.port)?.give(side.number), Command.UNBOARD, side.number);
    }
  }
}
