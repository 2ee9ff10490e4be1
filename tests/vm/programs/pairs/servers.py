# The outside of outside_pairs_test.ts: servers that end connections in every way, and one that counts datagrams. An argument: the address.
import os, socket, struct, sys, threading, time


def stream(port, handle):
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((sys.argv[1], port))
    server.listen(512)

    def one(client):
        try:
            handle(client)
        except OSError:
            pass
        client.close()

    def serve():
        while True:
            client, _ = server.accept()
            threading.Thread(target=one, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def until_the_end(client):
    total = 0
    while data := client.recv(65536):
        total += len(data)
    return total


# Answers when the request has just begun, and closes with unread input.
def early(size):
    def handle(client):
        client.recv(1000)
        client.sendall(b"x" * size)

    return handle


# Says how much came before the end, then answers at length and slowly.
def after_the_end(client):
    total = until_the_end(client)
    client.sendall(b"%d\n" % total)
    for _ in range(40):
        client.sendall(b"y" * 100_000)
        time.sleep(0.01)


def last_words(client):
    client.recv(10)
    client.sendall(b"last words")
    time.sleep(0.3)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def echo(client):
    while data := client.recv(65536):
        client.sendall(data)


# What a client that sends and goes has left: its sum is told to who asks for it by name.
left = {}


def leave(client):
    name = client.recv(8, socket.MSG_WAITALL)
    end = "end"
    total = 0
    try:
        total = until_the_end(client)
    except OSError as error:
        end = os.strerror(error.errno)
    left[name] = b"%d bytes, %s" % (total, end.encode())


def ask(client):
    name = client.recv(8, socket.MSG_WAITALL)
    for _ in range(300):
        if name in left:
            break
        time.sleep(0.1)
    client.sendall(left.get(name, b"nothing"))


def silent(client):
    time.sleep(3600)


def listens_only(client):
    client.shutdown(socket.SHUT_WR)
    time.sleep(3600)


stream(7001, early(1_000))
stream(7002, early(100_000))
stream(7003, after_the_end)
stream(7004, last_words)
stream(7005, echo)
stream(7006, leave)
stream(7007, ask)
stream(7008, silent)
stream(7009, listens_only)

counted = {}
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
datagrams.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
datagrams.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
datagrams.bind((sys.argv[1], 7000))
print("ready", flush=True)
while True:
    data, control, _, sender = datagrams.recvmsg(65535, 1024)
    if data.startswith(b"count "):
        datagrams.sendto(b"%d" % counted.pop(data[6:], 0), sender)
    elif data.startswith(b"marks"):
        datagrams.sendto(repr([(level, kind, value[0]) for level, kind, value in sorted(control)]).encode(), sender)
    else:
        counted[data] = counted.get(data, 0) + 1
