# One side of outside_pairs_test.ts: the same in a guest and on a machine with a NIC. client.py NAME OUTSIDE HERE KEY: what it prints is compared.
import errno, os, select, signal, socket, struct, sys, time

NAME, OUTSIDE, HERE, KEY = sys.argv[1:5]


def connect(port, timeout=60):
    s = socket.create_connection((OUTSIDE, port), timeout=60)
    s.settimeout(timeout)
    return s


def until_the_end(s):
    total = 0
    try:
        while data := s.recv(65536):
            total += len(data)
        return total, "end"
    except OSError as error:
        return total, errno.errorcode[error.errno] if error.errno else type(error).__name__


# The answer comes before all of the request is sent: it is read whole, whatever then becomes of the connection.
def early_answer(port, size, rounds=40):
    whole = 0
    for _ in range(rounds):
        s = connect(port)
        try:
            s.sendall(b"u" * 3_000_000)
        except OSError:
            pass
        whole += until_the_end(s)[0] == size
        s.close()
    print("read whole", whole, "of", rounds)


def early_small():
    early_answer(7001, 1_000)


# Natively a large answer may be cut where the reset overtakes it; what must hold is that some of it is there.
def early_large():
    begun = 0
    for _ in range(20):
        s = connect(7002)
        try:
            s.sendall(b"u" * 3_000_000)
        except OSError:
            pass
        begun += until_the_end(s)[0] > 0
        s.close()
    print("begun", begun, "of 20")


def half_close():
    s = connect(7003)
    s.sendall(b"q" * 500_000)
    s.shutdown(socket.SHUT_WR)
    time.sleep(1)  # let what has room on the way fill it
    print(*until_the_end(s))


def last_words():
    s = connect(7004)
    s.sendall(b"x")
    time.sleep(1)
    print(*until_the_end(s))


def left(name):
    s = connect(7007)
    s.sendall(name)
    return s.recv(100).decode()


def key(n):
    return b"%7.7s%d" % (KEY.encode(), n)


# What was sent is on its way when the program is gone.
def send_and_close():
    s = connect(7006)
    s.sendall(key(1) + b"z" * 2_000_000)
    s.close()
    print(left(key(1)))


def send_and_die():
    if os.fork() == 0:
        s = connect(7006)
        s.sendall(key(2) + b"z" * 200_000)
        os.kill(os.getpid(), signal.SIGKILL)
    os.wait()
    print(left(key(2)))


def close_unread():
    s = connect(7005)
    s.sendall(b"e" * 1000)
    time.sleep(0.5)
    s.close()
    t = connect(7006)
    t.sendall(key(3) + b"z" * 100_000)
    t.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(1)  # it has arrived
    t.close()
    print(left(key(3)))


def count(what):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(60)
    time.sleep(1)
    s.sendto(b"count " + what, (OUTSIDE, 7000))
    return int(s.recv(100))


def datagram_and_close():
    for _ in range(100):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.sendto(key(4), (OUTSIDE, 7000))
        s.close()
    print("arrived", count(key(4)))


def datagram_and_die():
    for _ in range(20):
        if os.fork() == 0:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.sendto(key(5), (OUTSIDE, 7000))
            os.kill(os.getpid(), signal.SIGKILL)
        os.wait()
    print("arrived", count(key(5)))


# The same port each time: the socket before has only just gone.
def datagram_same_port():
    for _ in range(50):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("", 4321))
        s.sendto(key(6), (OUTSIDE, 7000))
        s.close()
    print("arrived", count(key(6)))


def datagram_then_connected():
    for _ in range(20):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.sendto(key(7), (OUTSIDE, 7000))
        s.connect((OUTSIDE, 7001))
        s.close()
    print("arrived", count(key(7)))


# A dead port's errors are nobody else's.
def dead_and_live():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    failed = {}
    for _ in range(200):
        for what, to in ((b"dead", (HERE, 9)), (key(8), (OUTSIDE, 7000))):
            try:
                s.sendto(what, to)
            except OSError as error:
                failed[errno.errorcode[error.errno]] = True
        time.sleep(0.002)
    print("arrived", count(key(8)), "failed", *failed)


def connected_to_the_dead():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(60)
    s.connect((OUTSIDE, 9))
    s.send(b"x")
    try:
        print(s.recv(10))
    except OSError as error:
        print(errno.errorcode[error.errno])


def marks():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(60)
    for tos, ttl in ((0, 64), (0x48, 64), (0, 7), (0xB8, 255)):
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        s.sendto(b"marks", (OUTSIDE, 7000))
        print(s.recv(1000).decode())


def write_much_to_the_gone():
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    s = connect(7004)
    s.sendall(b"x")
    time.sleep(1.5)
    try:
        for _ in range(3):
            s.sendmsg([b"w" * (1 << 20)] * 64)
        print("no error")
    except OSError:
        print("an error")


# The network goes away under these; how long it takes is compared by its order of magnitude.
def vanished(prepare, active):
    s = connect(7008)
    prepare(s)
    print("waiting", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    if active:
        s.sendall(b"x" * 1000)
    print(*until_the_end(s))
    print("in time", time.monotonic() - began < 60)


# The same to a peer that had ended its half: a reader is at the end, a writer is told how the connection died.
def vanished_after_the_end(prepare, active):
    s = connect(7009)
    prepare(s)
    print(*until_the_end(s))
    print("waiting", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    if active:
        s.sendall(b"x" * 1000)
    dead = select.poll()
    dead.register(s, 0)
    print("events", *(mask for _, mask in dead.poll(120_000)))
    for _ in range(2):
        try:
            print("sent", s.send(b"x"))
        except OSError as error:
            print(errno.errorcode[error.errno])
    print(*until_the_end(s))
    print("in time", time.monotonic() - began < 60)


def with_keepalive(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    s.settimeout(120)


def with_user_timeout(s):
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4000)
    s.settimeout(120)


def keepalive():
    vanished(with_keepalive, False)


def user_timeout():
    vanished(with_user_timeout, True)


def keepalive_after_the_end():
    vanished_after_the_end(with_keepalive, False)


def user_timeout_after_the_end():
    vanished_after_the_end(with_user_timeout, True)


globals()[NAME]()
