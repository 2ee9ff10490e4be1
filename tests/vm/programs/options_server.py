# Tells each client what options the socket has that reached it. options_server.py ADDRESS PORT: on the client's machine, where its stack can be asked.
import re, socket, struct, subprocess, sys

IP_PKTOPTIONS, IP_TTL, IP_TOS, IP_RECVTTL, IP_RECVTOS = 9, 2, 1, 12, 13

# What ss says that does not depend on the moment.
FIELDS = [r"timer:\(keepalive", r"tos:0x[0-9a-f]+", r"\brb\d+", r"\btb\d+", r"\b(?:reno|cubic|bbr)\b"]


def came_with(s):
    options, at = s.getsockopt(socket.IPPROTO_IP, IP_PKTOPTIONS, 200), 0
    found = {}
    while at + 20 <= len(options):
        size, level, kind, value = struct.unpack_from("NiiI", options, at)
        found[kind] = value
        at += (size + 7) // 8 * 8
    return f"ttl {found[IP_TTL]} tos {found[IP_TOS]:#x}"


def asked(address, port):
    command = ["ss", "-tnHOoim", "--tos", f"src {address}:{port}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return " ".join(found[0] for field in FIELDS if (found := re.search(field, text)))


server = socket.create_server(tuple([sys.argv[1], int(sys.argv[2])]), backlog=64)
for name in IP_RECVTTL, IP_RECVTOS:
    server.setsockopt(socket.IPPROTO_IP, name, 1)
print("listening", flush=True)
while True:
    s, peer = server.accept()
    with s:
        s.recv(100)  # the client has set all that it wants to
        s.sendall(f"began with {came_with(s)}; has {asked(*peer)}".encode())
