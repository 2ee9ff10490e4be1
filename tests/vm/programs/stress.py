"""Load for tests/vm/stress_test.ts.

crowd N            N processes wait in accept() on one listener, and say who they are
dial ADDRESS N     N connections to a crowd: how many were answered, by how many
hold               a server that keeps its connections and answers each byte
open ADDRESS N     N connections that are open at once, all used, twice
echo               a server that answers what it is sent, and closes
churn ADDRESS      short connections, datagrams and longer transfers for ever; says how many went well on SIGTERM
"""

import errno
import os
import random
import resource
import select
import signal
import socket
import sys
import threading

PORT = 7500
# What programs are told while the device or the module is gone, or the peer is.
EXPECTED = {
    errno.ECONNRESET, errno.EPIPE, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN,
    errno.EADDRNOTAVAIL, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNABORTED, errno.ENOTCONN, errno.EAFNOSUPPORT,
}


def listener():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", PORT))
    s.listen(4096)
    return s


def crowd(count):
    s = listener()
    for _ in range(count):
        if os.fork() == 0:
            me = b"%d" % os.getpid()
            while True:
                conn, _ = s.accept()
                conn.sendall(me)
                conn.close()
    signal.pause()


def dial(address, count):
    answers = []
    for _ in range(count):
        with socket.create_connection((address, PORT), timeout=30) as s:
            answers.append(s.recv(100))
    print(len([a for a in answers if a]), len(set(answers)))


def hold():
    s = listener()
    s.setblocking(False)
    e = select.epoll()
    e.register(s, select.EPOLLIN)
    held = {}
    while True:
        for fd, _ in e.poll():
            if fd == s.fileno():
                try:
                    while True:
                        conn, _ = s.accept()
                        e.register(conn, select.EPOLLIN)
                        held[conn.fileno()] = conn
                except BlockingIOError:
                    pass
                continue
            data = held[fd].recv(100)
            if data:
                held[fd].send(data)
            else:
                held.pop(fd).close()


def open_many(address, count):
    held = [socket.create_connection((address, PORT), timeout=60) for _ in range(count)]
    for byte in (b"1", b"2"):
        for s in held:
            s.send(byte)
        assert all(s.recv(1) == byte for s in held)
    print(len(held), len({s.getsockname()[1] for s in held}))
    for s in held:
        s.close()


def echo():
    s = listener()

    def serve():
        while True:
            conn, _ = s.accept()
            try:
                while data := conn.recv(65536):
                    conn.sendall(data)
            except OSError:
                pass
            conn.close()

    def datagrams():
        d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        d.bind(("", PORT))
        while True:
            data, source = d.recvfrom(65536)
            try:
                d.sendto(data, source)
            except OSError:
                pass

    for _ in range(8):
        threading.Thread(target=serve, daemon=True).start()
    datagrams()


def transfer(address):
    kind = random.random()
    if kind < 0.2:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as d:
            d.settimeout(0.5)
            d.connect((address, PORT))
            d.send(b"datagram")
            assert d.recv(100) == b"datagram"
        return
    sent = os.urandom(random.choice((1, 100, 10_000, 200_000)))
    with socket.create_connection((address, PORT), timeout=5) as s:
        got = b""
        for at in range(0, len(sent), 50_000):
            s.sendall(sent[at : at + 50_000])
            while len(got) < min(at + 50_000, len(sent)):
                data = s.recv(65536)
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "early end")
                got += data
        assert got == sent, "other bytes came back"


def churn(address):
    counts = {"ok": 0, "failed": 0}

    def end(*_):
        print(counts["ok"], counts["failed"], flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        try:
            transfer(address)
            counts["ok"] += 1
        except TimeoutError:
            counts["failed"] += 1
        except OSError as e:
            assert e.errno in EXPECTED, e
            counts["failed"] += 1
        select.select([], [], [], random.random() * 0.02)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "crowd":
        crowd(int(arguments[0]))
    elif what == "dial":
        dial(arguments[0], int(arguments[1]))
    elif what == "hold":
        hold()
    elif what == "open":
        open_many(arguments[0], int(arguments[1]))
    elif what == "echo":
        echo()
    else:
        churn(arguments[0])
