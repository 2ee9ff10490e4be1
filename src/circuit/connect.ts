/**
 * Connection attempts: from a CONNECT to its answer.
 *
 * Theory of operation. An attempt is checked, its destination looked up, the verdict asked: all at once, within the
 * request. What is left may take time: *waiting* for the listener's backlog, then *opening* an arena for the pair. An
 * attempt is answered exactly once, by `#finish`; whatever ends it (CANCEL, time, either VM, the listener) goes
 * there.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { Errno, errnoName } from "../errno.ts";
import { type Endpoint, formatEndpoint, isUnspecified, unmapped } from "../net/address.ts";
import type { Arenas } from "./arenas.ts";
import type { Circuits } from "./circuits.ts";
import type { Directory } from "./directory.ts";
import type { Limits } from "./limits.ts";
import { chooseListener, type Listener } from "./listener.ts";
import { type ControlRequest, encodeConnectResponse, encodeResponse, type Header, PROTOCOL_STREAM } from "./records.ts";
import type { Attempt, Verdict, VerdictFunction } from "./verdict.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "connect"]);

type ConnectRequest = Extract<ControlRequest, { type: "CONNECT" }>;

/** An attempt that was allowed and has not been answered. */
export interface ConnectAttempt {
  readonly vm: Vm;
  readonly header: Header;
  readonly ticket: number;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly listener: Listener;
  /** `waiting` for the backlog, `opening` with the backlog's credit, or `done`: answered. */
  state: "waiting" | "opening" | "done";
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Handles connection attempts. */
export class Connector {
  constructor(
    readonly directory: Directory,
    readonly arenas: Arenas,
    readonly circuits: Circuits,
    readonly limits: Limits,
    readonly verdict: VerdictFunction,
  ) {}

  /** A CONNECT. Answers it at once or later. */
  connect(vm: Vm, header: Header, ticket: number, request: ConnectRequest): void {
    const refuse = (errno: number): void => vm.device.reply(ticket, encodeResponse(header, errno));
    const source = this.#source(vm, request);
    if (typeof source === "number") return refuse(source);
    if (vm.attempts.size >= this.limits.maxAttempts) return refuse(Errno.EAGAIN);
    if (vm.circuits.size >= this.limits.maxCircuits) return refuse(Errno.ENOBUFS);
    if (vm.attempts.has(header.token)) return refuse(Errno.EEXIST);
    const destination = { address: unmapped(request.remote.address), port: request.remote.port };
    const listener = this.#destination(vm, source, destination);
    if (typeof listener === "number") return refuse(listener);
    const attempt: ConnectAttempt = {
      vm,
      header,
      ticket,
      source,
      destination,
      listener,
      state: "waiting",
      timer: undefined,
    };
    vm.attempts.set(header.token, attempt);
    if (listener.hasCredit) this.#establish(attempt);
    else this.#wait(attempt);
  }

  /** A CANCEL; false when there is no such attempt. */
  cancel(vm: Vm, token: bigint): boolean {
    const attempt = vm.attempts.get(token);
    if (attempt) this.#finish(attempt, Errno.ECANCELED);
    return attempt !== undefined;
  }

  /** A listener may have room again: let those in that wait, in order. */
  admit(listener: Listener): void {
    for (const attempt of [...listener.waiting]) {
      if (!listener.hasCredit || listener.gone) return;
      listener.waiting.delete(attempt);
      clearTimeout(attempt.timer);
      this.#establish(attempt);
    }
  }

  /** A listener is gone: those that wait for it are refused. */
  listenerGone(listener: Listener): void {
    listener.gone = true;
    for (const attempt of [...listener.waiting]) this.#finish(attempt, Errno.ECONNREFUSED);
  }

  /** A VM went down: its attempts are over, without an answer that anybody could read. */
  vmDown(vm: Vm): void {
    for (const attempt of [...vm.attempts.values()]) this.#finish(attempt, Errno.ENETDOWN);
    for (const listener of vm.listeners.values()) this.listenerGone(listener);
  }

  /** The endpoint that an attempt comes from, or an errno. */
  #source(vm: Vm, { local, remote, protocol }: ConnectRequest): Endpoint | number {
    if (protocol !== PROTOCOL_STREAM) return Errno.EOPNOTSUPP;
    if (local.port === 0 || remote.port === 0) return Errno.EINVAL;
    const destination = unmapped(remote.address);
    if (isUnspecified(destination)) return Errno.EINVAL;
    const own = destination.family === 4 ? vm.identity.ipv4 : vm.identity.ipv6;
    const address = unmapped(local.address);
    if (!isUnspecified(address) && address.text !== own.text) return Errno.EADDRNOTAVAIL;
    return { address: own, port: local.port };
  }

  /** The listener that is to take the attempt, or the errno that it fails with. */
  #destination(vm: Vm, source: Endpoint, destination: Endpoint): Listener | number {
    const target = this.directory.byAddress(destination.address);
    if (target === "switch") return Errno.ECONNREFUSED;
    if (target === undefined) {
      return this.directory.isInside(destination.address) ? Errno.EHOSTUNREACH : Errno.ENETUNREACH;
    }
    const verdict = this.#ask({
      protocol: "tcp",
      from: vm.name,
      source,
      to: target.name,
      destination,
    });
    if (!verdict.allow) {
      log.warn("denied: {from} {source} -> {to} {destination}: {reason}", {
        from: vm.name,
        source: formatEndpoint(source),
        to: target.name,
        destination: formatEndpoint(destination),
        reason: verdict.reason,
      });
      return Errno.ECONNREFUSED;
    }
    if (target.state !== "ready") return Errno.EHOSTUNREACH;
    const listener = chooseListener(target.listeners.values(), destination);
    if (!listener) {
      log.info("refused: {from} -> {to} {destination}: nobody listens", {
        from: vm.name,
        to: target.name,
        destination: formatEndpoint(destination),
      });
      return Errno.ECONNREFUSED;
    }
    return listener;
  }

  #ask(attempt: Attempt): Verdict {
    try {
      return this.verdict(attempt);
    } catch (error) {
      log.error("the verdict function threw: {error}", { error });
      return { allow: false, reason: "the verdict function threw an exception" };
    }
  }

  #wait(attempt: ConnectAttempt): void {
    if (attempt.listener.waiting.size >= this.limits.maxBacklog) {
      this.#finish(attempt, Errno.ECONNREFUSED);
      return;
    }
    attempt.listener.waiting.add(attempt);
    attempt.timer = setTimeout(() => this.#finish(attempt, Errno.ETIMEDOUT), this.limits.connectMs);
  }

  /** There is room in the backlog: set the circuit up, as soon as there is a place for it. */
  #establish(attempt: ConnectAttempt): void {
    const { vm, listener } = attempt;
    attempt.state = "opening";
    listener.outstanding++;
    const place = this.arenas.takeSlot(vm, listener.vm);
    if (place) return this.#open(attempt, place);
    this.arenas.open(vm, listener.vm).then(
      () => {
        if (attempt.state === "done") return;
        // Others may have been quicker, and have filled the new arena too.
        listener.outstanding--;
        if (listener.gone) this.#finish(attempt, Errno.ECONNREFUSED, false);
        else this.#establish(attempt);
      },
      (error: Error) => {
        if (attempt.state === "done") return;
        log.warn("no arena between {from} and {to}: {reason}", {
          from: vm.name,
          to: listener.vm.name,
          reason: error.message,
        });
        this.#finish(attempt, listener.gone ? Errno.ECONNREFUSED : Errno.ENOBUFS);
      },
    ).catch((error: unknown) => {
      // A bug of ours costs this attempt, not the switch.
      log.error("a bug of csvn's: {error}", { error });
      this.#finish(attempt, Errno.EIO);
    });
  }

  #open(attempt: ConnectAttempt, place: Parameters<Circuits["open"]>[4]): void {
    const { vm, listener, header, ticket, source, destination } = attempt;
    const opened = this.circuits.open(vm, source, listener, destination, place);
    if (!opened) return this.#finish(attempt, Errno.ENOBUFS);
    attempt.state = "done";
    vm.attempts.delete(header.token);
    vm.device.reply(ticket, encodeConnectResponse(header, opened.id, opened.extents, source));
  }

  /** Answer an attempt that fails. @param credited Whether it holds the backlog's credit while it is opening. */
  #finish(attempt: ConnectAttempt, errno: number, credited = true): void {
    if (attempt.state === "done") return;
    const { vm, listener, header } = attempt;
    const opening = attempt.state === "opening";
    attempt.state = "done";
    clearTimeout(attempt.timer);
    listener.waiting.delete(attempt);
    vm.attempts.delete(header.token);
    log.debug("{from} -> {destination} failed: {error}", {
      from: vm.name,
      destination: formatEndpoint(attempt.destination),
      error: errnoName(errno),
    });
    vm.device.reply(attempt.ticket, encodeResponse(header, errno));
    if (opening && credited) {
      listener.outstanding--;
      this.admit(listener);
    }
  }
}
