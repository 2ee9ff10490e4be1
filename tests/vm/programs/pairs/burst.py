# burst.py HOST PORT N: N requests at once; how many are served.
import socket, sys, threading

host, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
together = threading.Barrier(n)
served = []


def one():
    together.wait()
    try:
        s = socket.create_connection((host, port), timeout=600)
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := s.recv(65536):
            answer += data
        if answer.startswith(b"HTTP/1.0 200"):
            served.append(True)
    except OSError as error:
        print(error)


threads = [threading.Thread(target=one) for _ in range(n)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(served), "served")
