"""What udp(7) and socket(7) say of datagram sockets, checked from the client's side between two guests.

serve: a server on port 7200 (IPv4 and IPv6) that does what a datagram's first byte asks for.
check ADDRESS [ADDRESS6]: the checks; ends with "all N passed", or a traceback. Linux's own loopback passes them too.
"""

import errno
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

PORT = 7200
MAX = 65507


def serve():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind(("::", PORT))
    other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    other.bind(("::", PORT + 1))
    while True:
        data, source = s.recvfrom(70000)
        what = data[:1]
        if what in (b"", b"e"):  # echo
            s.sendto(data, source)
        elif what == b"n":  # the source's name
            s.sendto(repr(source[:2]).encode(), source)
        elif what == b"l":  # the size
            s.sendto(str(len(data)).encode(), source)
        elif what == b"b":  # a burst of numbers
            for i in range(int(data[1:])):
                s.sendto(struct.pack("!I", i), source)
        elif what == b"d":  # later
            time.sleep(0.3)
            s.sendto(data, source)
        elif what == b"o":  # from another socket
            other.sendto(b"other", source)
        elif what == b"z":  # an empty datagram
            s.sendto(b"", source)
        elif what == b"s":  # a short life: a bound socket that takes one datagram
            short = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            short.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            short.bind(("::", PORT + 2))
            s.sendto(b"ready", source)
            short.settimeout(120)
            d, a = short.recvfrom(100)
            short.sendto(d, a)
            short.close()


def make(family=socket.AF_INET):
    """A socket that waits for nothing longer than 10 s."""
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
    return s


def connected(address):
    s = make()
    s.connect((address, PORT))
    return s


def equal(got, wanted):
    assert got == wanted, (got, wanted)


def expect(error, call):
    try:
        got = call()
    except OSError as e:
        equal(errno.errorcode[e.errno], errno.errorcode[error])
        return
    raise AssertionError("expected " + errno.errorcode[error] + ", got " + repr(got))


def poll(s, events, ms):
    p = select.poll()
    p.register(s, events)
    found = p.poll(ms)
    return found[0][1] if found else 0


def until(what, seconds=10):
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got:
            return got
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def unconnected(address):
    s = make()
    for data in (b"e", b"e" * 1400, b"e" + os.urandom(8191)):
        equal(s.sendto(data, (address, PORT)), len(data))
        got, source = s.recvfrom(70000)
        assert got == data and source == (address, PORT), (len(got), source)
    s.close()


def names(address):
    s = connected(address)
    equal(s.getpeername(), (address, PORT))
    mine = s.getsockname()
    assert mine[1] != 0 and mine[0] != "0.0.0.0", mine
    s.send(b"n")
    assert s.recv(100).decode().endswith(repr(mine[0] + "', " + str(mine[1]) + ")")[1:-1]), (mine,)
    s.close()


def bound(address):
    s = make()
    s.bind(("", 0))
    port = s.getsockname()[1]
    assert s.getsockname()[0] == "0.0.0.0" and port
    s.sendto(b"n", (address, PORT))
    assert str(port) in s.recv(100).decode()
    s.close()
    s = make()
    equal(s.getsockname(), ("0.0.0.0", 0))
    s.sendto(b"n", (address, PORT))
    port = s.getsockname()[1]
    assert port and str(port) in s.recv(100).decode()
    s.close()


def sizes(address):
    s = connected(address)
    for n in (0, 1, 7, 8, 9, 1400, 1472, 1473, 8192, 65000, MAX):
        data = b"e" * min(n, 1) + os.urandom(max(n - 1, 0))
        equal(s.send(data), n)
        assert s.recv(70000) == data, n
    expect(errno.EMSGSIZE, lambda: s.send(bytes(MAX + 1)))
    expect(errno.EMSGSIZE, lambda: s.sendto(bytes(MAX + 1), (address, PORT)))
    s.close()


def boundaries(address):
    s = connected(address)
    parts = [b"e" + bytes([i]) * (i * 37) for i in range(100)]
    for i in range(0, 100, 20):
        for part in parts[i : i + 20]:
            s.send(part)
        for part in parts[i : i + 20]:
            equal(s.recv(70000), part)
    s.sendmsg([b"e", b"", b"bc", b"d" * 100])
    equal(s.recv(1000), b"ebc" + b"d" * 100)
    s.send(b"eabcdefgh")
    a, b = bytearray(3), bytearray(100)
    n, _, flags, source = s.recvmsg_into([a, b])
    assert n == 9 and a == b"eab" and b[:6] == b"cdefgh" and not flags & socket.MSG_TRUNC
    s.close()


def order(address):
    s = connected(address)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.send(b"b500")
    for i in range(500):
        equal(struct.unpack("!I", s.recv(100))[0], i)
    s.close()


def truncated(address):
    s = connected(address)
    s.send(b"e" * 1000)
    data, _, flags, _ = s.recvmsg(10)
    assert data == b"e" * 10 and flags & socket.MSG_TRUNC, flags
    s.send(b"e" * 1000)
    poll(s, select.POLLIN, 5000)
    equal(s.recv_into(bytearray(10), 10, socket.MSG_TRUNC), 1000)
    s.send(b"e" * 1000)
    poll(s, select.POLLIN, 5000)
    equal(s.recv_into(bytearray(1), 1, socket.MSG_TRUNC | socket.MSG_PEEK), 1000)
    equal(len(s.recv(70000)), 1000)  # not what was cut off
    expect(errno.EAGAIN, lambda: s.recv(100, socket.MSG_DONTWAIT))
    s.close()


def peek(address):
    s = connected(address)
    s.send(b"e1")
    s.send(b"e2")
    for _ in range(3):
        equal(s.recvfrom(100, socket.MSG_PEEK), (b"e1", (address, PORT)))
    assert s.recv(100) == b"e1" and s.recv(100, socket.MSG_PEEK) == b"e2" and s.recv(100) == b"e2"
    s.close()


def inq(address):
    import fcntl, termios

    s = connected(address)
    until_readable = lambda: poll(s, select.POLLIN, 5000)
    size = lambda: struct.unpack("i", fcntl.ioctl(s, termios.FIONREAD, bytes(4)))[0]
    equal(size(), 0)
    s.send(b"e" * 321)
    until_readable()
    equal(size(), 321)
    s.recv(1000)
    equal(size(), 0)
    s.close()


def refused(address):
    s = make()
    s.connect((address, 9))
    s.send(b"x")
    expect(errno.ECONNREFUSED, lambda: s.recv(10))
    s.send(b"x")
    assert until(lambda: poll(s, 0, 100)) & select.POLLERR
    assert poll(s, select.POLLIN, 1000) & select.POLLERR
    equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), errno.ECONNREFUSED)
    equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)
    assert not poll(s, select.POLLIN, 50)
    s.send(b"x")
    until(lambda: poll(s, 0, 100) & select.POLLERR)
    expect(errno.ECONNREFUSED, lambda: s.send(b"x"))
    # Who is not connected is told nothing.
    u = make()
    for _ in range(3):
        u.sendto(b"x", (address, 9))
        time.sleep(0.05)
    equal(u.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)
    u.sendto(b"e", (address, PORT))
    equal(u.recv(10), b"e")
    u.close()
    # Connected to one, sending to another.
    s.sendto(b"e2", (address, PORT))
    expect(errno.EAGAIN, lambda: (time.sleep(0.2), s.recv(10, socket.MSG_DONTWAIT)))
    s.close()


def comes_and_goes(address):
    """The same socket finds a service that was not there before, and is refused when it has gone."""
    s = make()
    s.connect((address, PORT + 2))
    s.send(b"x")
    expect(errno.ECONNREFUSED, lambda: s.recv(10))
    c = connected(address)
    for i in range(3):
        c.send(b"s")
        equal(c.recv(10), b"ready")
        s.send(b"hello")
        equal(s.recv(10), b"hello")
        time.sleep(0.3)
        s.send(b"x")
        expect(errno.ECONNREFUSED, lambda: s.recv(10))
    s.close()
    c.close()


def polls(address):
    s = connected(address)
    both = select.POLLIN | select.POLLOUT
    equal(poll(s, both, 0), select.POLLOUT)
    began = time.monotonic()
    assert poll(s, select.POLLIN, 200) == 0 and time.monotonic() - began >= 0.19
    s.send(b"d")
    equal(poll(s, select.POLLIN, 5000), select.POLLIN)
    equal(poll(s, both, 0), both)
    s.recv(10)
    equal(poll(s, both, 0), select.POLLOUT)
    s.send(b"d")
    equal(select.select([s], [], [], 5)[0], [s])
    s.recv(10)
    s.close()


def level(address):
    s = make()
    e = select.epoll()
    e.register(s, select.EPOLLIN)  # before it has anything to do with circuits
    s.sendto(b"d", (address, PORT))
    for _ in range(2):
        equal(e.poll(5), [(s.fileno(), select.EPOLLIN)])
    s.recv(10)
    equal(e.poll(0.05), [])
    for _ in range(50):
        s.sendto(b"e", (address, PORT))
        equal(e.poll(5), [(s.fileno(), select.EPOLLIN)])
        s.recv(10)
    e.close()
    s.close()


def edge(address):
    s = make()
    s.setblocking(False)
    e = select.epoll()
    e.register(s, select.EPOLLIN | select.EPOLLET)
    got = 0
    for n in range(100):
        s.sendto(b"b3", (address, PORT))
        while got < 3 * (n + 1):
            assert e.poll(5), (n, got)
            try:
                while True:
                    s.recv(100)
                    got += 1
            except BlockingIOError:
                pass
    # An event for each datagram, even if those before have not been read.
    while e.poll(0.1):
        pass
    s.sendto(b"e", (address, PORT))
    assert e.poll(5)
    s.sendto(b"e", (address, PORT))
    assert e.poll(5)
    assert s.recv(10) == b"e" and s.recv(10) == b"e"
    e.close()
    s.close()


def timeouts(address):
    s = connected(address)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
    began = time.monotonic()
    expect(errno.EAGAIN, lambda: s.recv(10))
    assert 0.15 < time.monotonic() - began < 5
    expect(errno.EAGAIN, lambda: s.recv(10, socket.MSG_DONTWAIT))
    s.setblocking(False)
    expect(errno.EAGAIN, lambda: s.recv(10))
    s.close()


def signals(address):
    s = connected(address)
    signal.signal(signal.SIGALRM, lambda *_: s.send(b"e after the signal"))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    equal(s.recv(100), b"e after the signal")
    s.close()


def sleepers(address):
    """A thread that sleeps in recv() before the socket was ever used is woken."""
    s = make()
    got = []
    t = threading.Thread(target=lambda: got.append(s.recv(10)))
    t.start()
    time.sleep(0.2)
    s.sendto(b"e", (address, PORT))
    t.join(10)
    assert got == [b"e"], got
    s.close()


def empty(address):
    s = connected(address)
    s.send(b"z")
    equal(poll(s, select.POLLIN, 5000), select.POLLIN)
    equal(s.recvfrom(10), (b"", (address, PORT)))
    s.close()


def only_the_peer(address):
    """A connected socket hears nobody else; disconnected, it does again."""
    s = make()
    s.bind(("", 0))
    s.sendto(b"e", (address, PORT))
    equal(s.recv(10), b"e")
    s.connect((address, PORT))
    s.send(b"o")
    expect(errno.EAGAIN, lambda: (time.sleep(0.3), s.recv(10, socket.MSG_DONTWAIT)))
    s.send(b"e")
    equal(s.recv(10), b"e")
    disconnect(s)
    expect(errno.ENOTCONN, s.getpeername)
    expect(errno.EDESTADDRREQ, lambda: s.send(b"x"))
    s.sendto(b"o", (address, PORT))
    equal(s.recvfrom(10), (b"other", (address, PORT + 1)))
    s.close()


def disconnect(s):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    equal(libc.connect(s.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16), 0)


def another_socket(address):
    s = make()
    s.sendto(b"o", (address, PORT))
    equal(s.recvfrom(10), (b"other", (address, PORT + 1)))
    s.close()


def shut(address):
    s = connected(address)
    s.shutdown(socket.SHUT_RD)
    equal(s.recv(10), b"")
    s.send(b"e")
    s.shutdown(socket.SHUT_WR)
    expect(errno.EPIPE, lambda: s.send(b"x"))
    s.close()


def mapped(address):
    s = make(socket.AF_INET6)
    peer = "::ffff:" + address
    s.sendto(b"e4", (peer, PORT))
    equal(s.recvfrom(10)[:2], (b"e4", (peer, PORT, 0, 0)))
    s.connect((peer, PORT))
    assert s.getpeername()[:2] == (peer, PORT) and s.getsockname()[0].startswith("::ffff:")
    s.send(b"e")
    equal(s.recv(10), b"e")
    s.close()


def ipv6(address6):
    s = make(socket.AF_INET6)
    for n in (0, 1, 5000, MAX):
        data = b"e" * n
        s.sendto(data, (address6, PORT))
        got, source = s.recvfrom(70000)
        assert got == data and source[:2] == (address6, PORT), source
    s.connect((address6, PORT))
    s.send(b"n")
    assert s.getsockname()[0] in s.recv(200).decode()
    expect(errno.EMSGSIZE, lambda: s.send(bytes(70000)))
    s.close()
    s = make(socket.AF_INET6)
    s.connect((address6, 9))
    s.send(b"x")
    expect(errno.ECONNREFUSED, lambda: s.recv(10))
    s.close()


def pktinfo(address):
    s = make()
    s.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    s.sendto(b"e", (address, PORT))
    _, cmsgs, _, _ = s.recvmsg(10, 1000)
    (level, kind, data) = [c for c in cmsgs if c[:2] == (0, 8)][0]
    index, _, destination = struct.unpack("i4s4s", data)
    c = connected(address)
    assert socket.inet_ntoa(destination) == c.getsockname()[0] and index > 0
    # And to send from that address.
    s.sendmsg([b"e2"], [(0, 8, struct.pack("i4s4s", 0, destination, bytes(4)))], 0, (address, PORT))
    equal(s.recv(10), b"e2")
    s.close()
    c.close()


def segments(address):
    """UDP_SEGMENT, by option and by control message."""
    s = connected(address)
    s.sendmsg([b"e" * 2500], [(17, 103, struct.pack("H", 1000))])
    assert [len(s.recv(70000)) for _ in range(3)] == [1000, 1000, 500]
    s.setsockopt(17, 103, 700)
    s.send(b"e" * 1400)
    assert [len(s.recv(70000)) for _ in range(2)] == [700, 700]
    s.close()


def many(address):
    """200 sockets at once."""
    sockets = [make() for _ in range(200)]
    for i, s in enumerate(sockets):
        s.sendto(b"e%d" % i, (address, PORT))
    for i, s in enumerate(sockets):
        equal(s.recv(100), b"e%d" % i)
    for i, s in enumerate(sockets):
        s.connect((address, PORT))
        s.send(b"e%d again" % i)
    for i, s in enumerate(sockets):
        equal(s.recv(100), b"e%d again" % i)
        s.close()


def one_by_one(address):
    for i in range(200):
        s = connected(address)
        s.send(b"e%d" % i)
        equal(s.recv(100), b"e%d" % i)
        s.close()


def threads(address):
    """Several threads receive from one socket: each datagram goes to one."""
    s = connected(address)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 1, 0))
    got = []

    def receive():
        try:
            while True:
                got.append(s.recv(100))
        except BlockingIOError:
            pass

    workers = [threading.Thread(target=receive) for _ in range(4)]
    for w in workers:
        w.start()
    for i in range(400):
        s.send(b"e%d" % i)
        if i % 20 == 0:
            time.sleep(0.01)
    for w in workers:
        w.join()
    assert sorted(got) == sorted(b"e%d" % i for i in range(400)), len(got)
    s.close()


def loopback(address):
    """The guest's own sockets, on a socket that uses circuits too."""
    a, b = make(), make()
    a.bind(("", 0))
    b.bind(("127.0.0.1", 0))
    a.sendto(b"e", (address, PORT))
    equal(a.recv(10), b"e")
    for i in range(50):
        b.sendto(b"local", ("127.0.0.1", a.getsockname()[1]))
        a.sendto(b"e", (address, PORT))
        got = {a.recvfrom(10)[1][0] for _ in range(2)}
        assert got == {"127.0.0.1", address} or address == "127.0.0.1", got
    a.close()
    b.connect(("127.0.0.1", 9))
    b.send(b"x")
    expect(errno.ECONNREFUSED, lambda: b.recv(10))
    b.close()


def invalid(address):
    s = make()
    expect(errno.EINVAL, lambda: s.sendto(b"x", (address, 0)))
    expect(errno.EDESTADDRREQ, lambda: s.send(b"x"))
    expect(errno.EACCES, lambda: s.sendto(b"x", ("255.255.255.255", PORT)))
    expect(errno.EINVAL, lambda: s.bind(("", 0)))  # the first attempt to send has bound it
    s.close()
    s = make()
    s.bind(("", 0))
    expect(errno.EINVAL, lambda: s.bind(("", 0)))
    other = make()
    expect(errno.EADDRINUSE, lambda: other.bind(("", s.getsockname()[1])))
    other.close()
    s.close()


def batches(address):
    """sendmmsg() and recvmmsg()."""
    import ctypes

    class iovec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]

    class mmsghdr(ctypes.Structure):
        _fields_ = [
            ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.POINTER(iovec)),
            ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
            ("flags", ctypes.c_long), ("got", ctypes.c_uint),
        ]

    libc = ctypes.CDLL(None, use_errno=True)
    s = connected(address)
    buffers = [ctypes.create_string_buffer(b"e%02d" % i, 100) for i in range(20)]
    iovs = (iovec * 20)(*[iovec(ctypes.cast(b, ctypes.c_char_p), 3) for b in buffers])
    messages = (mmsghdr * 20)()
    for i in range(20):
        messages[i].iov = ctypes.pointer(iovs[i])
        messages[i].iovlen = 1
    equal(libc.sendmmsg(s.fileno(), messages, 20, 0), 20)
    for b in buffers:
        b.raw = bytes(100)
    got = 0
    while got < 20:
        n = libc.recvmmsg(s.fileno(), ctypes.byref(messages, got * ctypes.sizeof(mmsghdr)), 20 - got, 0x10000, None)
        assert n > 0, ctypes.get_errno()
        got += n
    assert [b.raw[:3] for b in buffers] == [b"e%02d" % i for i in range(20)]
    assert all(m.got == 3 for m in messages)
    s.close()


def check(address, address6):
    n = 0
    for test in (
        unconnected, names, bound, sizes, boundaries, order, truncated, peek, inq, refused, comes_and_goes, polls, level,
        edge, timeouts, signals, sleepers, empty, only_the_peer, another_socket, shut, mapped, pktinfo, segments, many,
        one_by_one, threads, loopback, invalid, batches,
    ):
        print(test.__name__, flush=True)
        test(address)
        n += 1
    if address6:
        print("ipv6", flush=True)
        ipv6(address6)
        n += 1
    print(f"all {n} passed")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        signal.alarm(150)
        check(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
