"""What tcp(7) and socket(7) say of stream sockets, checked from the client's side between two guests.

serve: a server that does on port 7100 what its first byte asks for.
check ADDRESS: the checks; ends with "all N passed", or a traceback.
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

PORT = 7100


def serve():
    server = socket.create_server(("", PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
    crowded = socket.socket()
    crowded.bind(("", PORT + 1))
    crowded.listen(1)
    while True:
        conn, _ = server.accept()
        threading.Thread(target=handle, args=(conn, crowded), daemon=True).start()


def handle(conn, crowded):
    what = conn.recv(1)
    if what == b"e":  # echo until the end of file
        while data := conn.recv(65536):
            conn.sendall(data)
    elif what == b"r":  # reset: unread data
        conn.recv(1, socket.MSG_PEEK)
    elif what == b"l":  # reset: linger 0
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif what == b"c":  # close at once
        pass
    elif what == b"s":  # silent: reads nothing for a while
        time.sleep(3)
        while conn.recv(1 << 20):
            pass
        conn.sendall(b"end")
    elif what == b"h":  # half-close first, then read
        conn.sendall(b"bye")
        conn.shutdown(socket.SHUT_WR)
        total = 0
        while data := conn.recv(65536):
            total += len(data)
        print("half", total, flush=True)
    elif what == b"w":  # slow writer
        for i in range(5):
            conn.sendall(bytes([i]) * 10)
            time.sleep(0.2)
    elif what == b"a":  # accept one of the crowded port
        time.sleep(1)
        other, _ = crowded.accept()
        other.close()
    conn.close()


def connect(address, what):
    """A blocking socket; nothing waits for more than 20 s all the same."""
    s = socket.create_connection((address, PORT), timeout=20)
    s.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        s.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 20, 0))
    s.sendall(what)
    return s


def expect(error, call):
    try:
        call()
    except OSError as e:
        assert e.errno == error, (errno.errorcode[e.errno], errno.errorcode[error])
        return
    raise AssertionError("expected " + errno.errorcode[error])


def poll(s, events, ms):
    p = select.poll()
    p.register(s, events)
    found = p.poll(ms)
    return found[0][1] if found else 0


def names(address):
    s = connect(address, b"e")
    assert s.getpeername() == (address, PORT), s.getpeername()
    assert s.getsockname()[0].startswith("10.77."), s.getsockname()
    assert s.getsockname()[1] != 0
    s.close()


def ipv6(address):
    peer = "::ffff:" + address
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.connect((peer, PORT))
    assert s.getpeername()[0] == peer, s.getpeername()
    s.sendall(b"e6")
    assert s.recv(1) == b"6"
    s.close()


def echo(address):
    s = connect(address, b"e")
    sent = os.urandom(3_000_000)
    writer = threading.Thread(target=lambda: (s.sendall(sent), s.shutdown(socket.SHUT_WR)))
    writer.start()
    got = b""
    while data := s.recv(100_000):
        got += data
    writer.join()
    assert got == sent


def nonblocking_connect(address):
    s = socket.socket()
    s.setblocking(False)
    error = s.connect_ex((address, PORT))
    assert error in (errno.EINPROGRESS, 0), errno.errorcode[error]
    assert poll(s, select.POLLOUT, 10_000) & select.POLLOUT
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert s.connect_ex((address, PORT)) in (0, errno.EISCONN)
    expect(errno.EISCONN, lambda: s.connect((address, PORT)))
    expect(errno.EAGAIN, lambda: s.recv(1))
    s.close()


def nonblocking_refused(address):
    s = socket.socket()
    s.setblocking(False)
    assert s.connect_ex((address, 9)) in (errno.EINPROGRESS, errno.ECONNREFUSED)
    mask = poll(s, select.POLLOUT, 10_000)
    assert mask & (select.POLLERR | select.POLLHUP), mask
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.ECONNREFUSED, 0)
    s.close()


def refused(address):
    s = socket.socket()
    expect(errno.ECONNREFUSED, lambda: s.connect((address, 9)))
    s.connect((address, PORT))  # and it may try again
    s.sendall(b"c")
    s.close()


def end_of_file(address):
    s = connect(address, b"c")
    assert s.recv(10) == b""
    assert poll(s, select.POLLIN | select.POLLRDHUP, 1000) & select.POLLRDHUP
    s.close()


def broken_pipe(address):
    s = connect(address, b"c")
    assert s.recv(10) == b""
    s.send(b"the first one goes nowhere")
    time.sleep(0.2)
    expect(errno.EPIPE, lambda: [s.send(b"x") for _ in range(3)])
    s.close()


def sigpipe(address):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        s = connect(address, b"c")
        s.recv(10)
        for _ in range(20):
            s.send(b"x")
            time.sleep(0.05)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPIPE, status


def reset_by_unread(address):
    s = connect(address, b"rmore")
    expect(errno.ECONNRESET, lambda: [s.recv(10) for _ in range(2)])
    s.close()


def reset_by_linger(address):
    s = connect(address, b"l")
    assert poll(s, select.POLLIN, 5000) & (select.POLLERR | select.POLLHUP)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    s.close()


def half_close(address):
    s = connect(address, b"h")
    assert s.recv(10) == b"bye"
    assert s.recv(10) == b""
    s.sendall(b"y" * 500_000)
    s.close()


def shutdown_write(address):
    s = connect(address, b"e")
    s.sendall(b"abc")
    s.shutdown(socket.SHUT_WR)
    expect(errno.EPIPE, lambda: s.send(b"x"))
    got = b""
    while data := s.recv(10):
        got += data
    assert got == b"abc"
    s.close()


def backpressure(address):
    s = connect(address, b"s")
    s.setblocking(False)
    sent = 0
    try:
        while sent < 1 << 28:
            sent += s.send(b"z" * 65536)
    except BlockingIOError:
        pass
    assert 0 < sent < 1 << 28, sent
    assert poll(s, select.POLLOUT, 100) == 0
    assert poll(s, select.POLLOUT, 20_000) & select.POLLOUT
    s.setblocking(True)
    s.sendall(b"z" * 1_000_000)
    s.shutdown(socket.SHUT_WR)
    assert s.recv(3, socket.MSG_WAITALL) == b"end"
    s.close()


def timeouts(address):
    s = connect(address, b"e")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
    started = time.monotonic()
    expect(errno.EAGAIN, lambda: s.recv(1))
    assert time.monotonic() - started >= 0.15
    s.close()


def peek_and_waitall(address):
    s = connect(address, b"w")
    assert s.recv(5, socket.MSG_PEEK) == bytes([0]) * 5
    assert s.recv(5, socket.MSG_PEEK) == bytes([0]) * 5
    got = s.recv(50, socket.MSG_WAITALL)
    assert len(got) == 50 and got[-1] == 4, got
    s.close()


def edge_triggered(address):
    s = connect(address, b"w")
    s.setblocking(False)
    e = select.epoll()
    e.register(s, select.EPOLLIN | select.EPOLLET | select.EPOLLRDHUP)
    total = 0
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for _, mask in e.poll(5):
            # Short reads only: an edge must come for the next bytes all the same.
            try:
                data = s.recv(1000)
            except BlockingIOError:
                continue
            total += len(data)
            if not data:
                assert total == 50, total
                return
        if total == 50:
            return
    raise AssertionError(total)


def interrupted(address):
    s = connect(address, b"e")
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1) or s.send(b"late"))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    assert s.recv(4, socket.MSG_WAITALL) == b"late"
    assert hits
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        s.recv(1)
        os._exit(0)
    time.sleep(0.3)
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    s.close()


def backlog(address):
    control = connect(address, b"a")
    held = []
    for _ in range(2):  # backlog 1 takes two
        s = socket.create_connection((address, PORT + 1), timeout=10)
        held.append(s)
    waiting = socket.socket()
    waiting.setblocking(False)
    assert waiting.connect_ex((address, PORT + 1)) == errno.EINPROGRESS
    assert poll(waiting, select.POLLOUT, 300) == 0
    assert poll(waiting, select.POLLOUT, 20_000) & select.POLLOUT, "accepted after one was taken off"
    assert waiting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    for s in [*held, waiting, control]:
        s.close()


def unconnected(address):
    s = socket.socket()
    expect(errno.ENOTCONN, lambda: s.recv(1))
    expect(errno.EPIPE, lambda: s.send(b"x"))
    expect(errno.ENOTCONN, s.getpeername)
    expect(errno.ENOTCONN, lambda: s.shutdown(socket.SHUT_RDWR))
    s.close()


def unreachable(address):
    s = socket.socket()
    expect(errno.EHOSTUNREACH, lambda: s.connect(("10.77.200.200", 80)))
    s.close()


def ports(address):
    s = socket.create_server(("", 0))
    port = s.getsockname()[1]
    assert port != 0
    expect(errno.EADDRINUSE, lambda: socket.create_server(("", port), reuse_port=False))
    inside = socket.create_connection(("127.0.0.1", port))  # its own stack's loopback
    conn, peer = s.accept()
    assert peer[0] == "127.0.0.1"
    inside.sendall(b"loop")
    assert conn.recv(4) == b"loop"
    for x in (inside, conn, s):
        x.close()


def passing(address):
    s = connect(address, b"e")
    copy = socket.socket(fileno=os.dup(s.fileno()))
    s.close()
    copy.sendall(b"still")
    assert copy.recv(5, socket.MSG_WAITALL) == b"still"
    copy.close()


def sendfile(address):
    with open("/tmp/sendfile", "wb") as f:
        f.write(os.urandom(300_000))
    s = connect(address, b"e")
    with open("/tmp/sendfile", "rb") as f:
        data = f.read()
        f.seek(0)
        thread = threading.Thread(target=lambda: (s.sendfile(f), s.shutdown(socket.SHUT_WR)))
        thread.start()
        got = b""
        while piece := s.recv(65536):
            got += piece
        thread.join()
    assert got == data
    s.close()


def available(address):
    import fcntl
    import termios

    s = connect(address, b"w")
    time.sleep(0.3)
    count = struct.unpack("i", fcntl.ioctl(s, termios.FIONREAD, b"\0" * 4))[0]
    assert count >= 10, count
    s.close()


CHECKS = [
    names, ipv6, echo, nonblocking_connect, nonblocking_refused, refused, end_of_file, broken_pipe, sigpipe,
    reset_by_unread, reset_by_linger, half_close, shutdown_write, backpressure, timeouts, peek_and_waitall,
    edge_triggered, interrupted, backlog, unconnected, unreachable, ports, passing, sendfile, available,
]

if sys.argv[1] == "serve":
    serve()
else:
    for check in CHECKS:
        print(check.__name__, flush=True)
        check(sys.argv[2])
    print(f"all {len(CHECKS)} passed")
