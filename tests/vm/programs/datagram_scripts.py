# datagram_scripts.py ADDRESS SEED N: N random scripts of datagram sockets that come and go, against receivers that are there, that are not, and
# that were. Every datagram to a receiver that is there must arrive, in its sender's order, whatever became of the sender.
import os, random, signal, socket, sys, time

host, seed, scripts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)


def udp(address=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    if address:
        s.bind((host, 0))
    return s


def vacant():
    s = udp(True)
    name = s.getsockname()
    s.close()
    return name


def attempt(call, *arguments):
    try:
        call(*arguments)
        return True
    except OSError:
        return False  # an error of an earlier datagram: this one was not taken


def script(number):
    receivers = [udp(True) for _ in range(rng.randint(1, 3))]
    dead = [vacant() for _ in range(2)]
    senders = {}
    due = {id(r): {} for r in receivers}  # receiver -> sender's name -> what it sent, in order
    count = 0
    for step in range(rng.randint(5, 40)):
        what = rng.random()
        if what < 0.25 or not senders:
            senders[f"{number}.{step}"] = udp(rng.random() < 0.3)
        name = rng.choice(list(senders))
        sender = senders[name]
        if what < 0.7:
            for _ in range(rng.choice((1, 1, 3))):
                count += 1
                receiver = rng.choice(receivers)
                if attempt(sender.sendto, f"{name} {count}".encode(), receiver.getsockname()):
                    due[id(receiver)].setdefault(name, []).append(count)
        elif what < 0.8:
            attempt(sender.sendto, b"nobody", rng.choice(dead))
        elif what < 0.85:
            attempt(sender.connect, rng.choice(dead + [r.getsockname() for r in receivers]))
            senders.pop(name).close()
        elif what < 0.9:
            count += 1
            receiver = rng.choice(receivers)
            child = f"{name}.child{count}"  # a sender of its own: there is no order between two sockets
            due[id(receiver)][child] = [count]
            if os.fork() == 0:
                udp().sendto(f"{child} {count}".encode(), receiver.getsockname())
                os.kill(os.getpid(), signal.SIGKILL)
            os.wait()
        else:
            senders.pop(name).close()
    wrong = []
    for receiver in receivers:
        expected = due[id(receiver)]
        left = sum(map(len, expected.values()))
        got = {}
        receiver.settimeout(120)
        while left:
            try:
                name, n = receiver.recv(100).decode().split()
            except socket.timeout:
                break
            got.setdefault(name, []).append(int(n))
            left -= 1
        if got != expected:
            wrong.append((expected, got))
    for s in receivers + list(senders.values()):
        s.close()
    return wrong


began = time.monotonic()
failed = 0
for number in range(scripts):
    for expected, got in script(number):
        failed += 1
        print(f"script {number} of seed {seed}: expected {expected}, got {got}", flush=True)
print(f"{scripts} scripts, {failed} wrong")
