# Prints what options_server.py says of a socket whose options are set before connect, after it, or never: options_client.py ADDRESS PORT WHEN
import socket, sys, time

address, port, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
s = socket.socket()


def set_all():
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x48)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 17)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3000)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 50000)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 40000)


if when == "before":
    set_all()
s.connect((address, port))
if when == "after":
    set_all()
    time.sleep(1)  # they are told to the switch meanwhile
s.sendall(b"x")
print(s.recv(1000).decode())
