// SPDX-License-Identifier: MIT
/*
 * The guest's agent: runs commands for the host, over one virtio-serial port.
 *
 * It is process 1 of a test guest, so it reaps every orphan, and powers the
 * machine off when it is told to.
 *
 * Protocol (all numbers little-endian). A frame is
 *
 *     u32 length of the payload, at most 128 KiB + 256
 *     u32 id of the command (0 where there is none)
 *     u8  type
 *     u8  pad[3], zero
 *     payload
 *
 * Host to guest:
 *     1 HELLO     u64 nonce: drop all commands, answer with the nonce
 *     2 EXEC      u8 flags (1 terminal, 2 input follows), u8 0, u16 rows,
 *                 u16 columns, u16 0, then two strings that end in NUL:
 *                 TERM ("" for none), and the command, for bash -c
 *     3 INPUT     bytes for standard input; empty: end of input
 *     4 KILL      u32 signal, for the command's process group
 *     5 WINDOW    u16 rows, u16 columns
 *     6 CREDIT    u32 stream (1 output, 2 errors), u32 bytes consumed
 *     7 POWEROFF  sync and power off
 * Guest to host:
 *     0x81 HELLO  u64 nonce, u32 version of the protocol
 *     0x82 OUTPUT bytes of standard output (of the terminal, if there is one)
 *     0x83 ERRORS bytes of standard error
 *     0x84 CREDIT u32 bytes of input consumed
 *     0x85 EXIT   u32 kind (0 exited, 1 signal, 2 not started), u32 status,
 *                 signal or errno: last frame of a command
 *
 * Flow control: a side sends at most WINDOW bytes of a stream (output, errors:
 * OUT_WINDOW; input: IN_WINDOW) beyond what the other has given credit for. So
 * a slow reader stops its command and nothing else, and buffers are bounded.
 *
 * EXIT comes when the shell is gone and what it left in its pipes is sent.
 * Processes that it left in the background keep their pipes; what they write
 * from then on is read and dropped.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERSION 1
#define PORT_NAME "csvn.agent"
#define HEADER 12
#define MAX_PAYLOAD (128 * 1024 + 256)
#define CHUNK (32 * 1024)
#define OUT_WINDOW (256 * 1024)
#define IN_WINDOW (64 * 1024)
#define MAX_COMMANDS 64
#define MAX_ORPHANS 256
#define TX_SIZE (512 * 1024)

enum { HELLO = 1, EXEC, INPUT, KILL, WINDOW, CREDIT, POWEROFF };
enum { T_HELLO = 0x81, T_OUTPUT, T_ERRORS, T_CREDIT, T_EXIT };
enum { FLAG_TERMINAL = 1, FLAG_INPUT = 2 };
enum { KIND_EXITED, KIND_SIGNAL, KIND_NOT_STARTED };

struct command {
	int used;
	uint32_t id;
	pid_t pid; /* 0 when it has been reaped */
	int terminal;
	int out[2];		/* where output and errors are read, or -1 */
	uint32_t in_flight[2];	/* bytes sent without credit yet */
	int in;			/* where input is written, or -1 */
	uint8_t *input;		/* ring of IN_WINDOW bytes, or NULL */
	uint32_t in_head, in_len;
	int in_end;		/* the host has no more input */
	uint32_t in_credit;	/* input consumed, not yet told */
	uint32_t kind, status;	/* how it ended, once pid is 0 */
};

static struct command commands[MAX_COMMANDS];
static int orphans[MAX_ORPHANS]; /* pipes of what runs in the background */
static int orphan_count;
static int port = -1;
static uint8_t rx[HEADER + MAX_PAYLOAD];
static uint32_t rx_len;
static uint8_t tx[TX_SIZE];
static uint32_t tx_start, tx_end;
static int hello_due;
static uint64_t hello_nonce;

static void note(const char *format, ...)
{
	char line[256];
	va_list args;
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	dprintf(fd, "csvn-agent: %s\n", line);
	close(fd);
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint16_t get16(const uint8_t *p)
{
	return p[0] | p[1] << 8;
}

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = v;
	p[1] = v >> 8;
	p[2] = v >> 16;
	p[3] = v >> 24;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Room for a frame with this much payload; moves what waits to the front. */
static int tx_room(uint32_t payload)
{
	if (tx_start > 0) {
		memmove(tx, tx + tx_start, tx_end - tx_start);
		tx_end -= tx_start;
		tx_start = 0;
	}
	return TX_SIZE - tx_end >= HEADER + payload;
}

/* Start a frame; the caller has asked tx_room() and fills the payload in. */
static uint8_t *tx_frame(uint8_t type, uint32_t id, uint32_t payload)
{
	uint8_t *p = tx + tx_end;

	put32(p, payload);
	put32(p + 4, id);
	put32(p + 8, type);
	tx_end += HEADER + payload;
	return p + HEADER;
}

static void keep_orphan(int fd)
{
	if (orphan_count == MAX_ORPHANS) {
		close(orphans[0]);
		memmove(orphans, orphans + 1, sizeof(int) * (MAX_ORPHANS - 1));
		orphan_count--;
	}
	orphans[orphan_count++] = fd;
}

static void forget(struct command *c)
{
	close_fd(&c->in);
	close_fd(&c->out[0]);
	close_fd(&c->out[1]);
	free(c->input);
	memset(c, 0, sizeof(*c));
}

static void drop_all(void)
{
	for (int i = 0; i < MAX_COMMANDS; i++) {
		struct command *c = &commands[i];

		if (c->used && c->pid > 0)
			kill(-c->pid, SIGKILL);
		if (c->used)
			forget(c);
	}
	tx_start = tx_end = 0;
}

static struct command *find(uint32_t id)
{
	for (int i = 0; i < MAX_COMMANDS; i++)
		if (commands[i].used && commands[i].id == id)
			return &commands[i];
	return NULL;
}

/* Signal a command's group, or the child that has not made its group yet. */
static void signal_command(const struct command *c, int signal)
{
	if (c->pid > 0 && kill(-c->pid, signal) < 0 && errno == ESRCH)
		kill(c->pid, signal);
}

static void set_window(int fd, uint16_t rows, uint16_t columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };

	ioctl(fd, TIOCSWINSZ, &size);
}

/* In the child: become the command. in, out, err are what it shall have. */
static void become(int in, int out, int err, int terminal, const char *term,
		   const char *text)
{
	sigset_t none;

	setsid();
	if (terminal)
		ioctl(in, TIOCSCTTY, 0);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	clearenv();
	setenv("PATH",
	       "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("USER", "root", 1);
	setenv("LOGNAME", "root", 1);
	setenv("SHELL", "/bin/bash", 1);
	setenv("LANG", "C.UTF-8", 1);
	if (*term)
		setenv("TERM", term, 1);
	if (chdir("/root") < 0 && chdir("/") < 0)
		_exit(126);
	execl("/bin/bash", "bash", "-c", text, (char *)NULL);
	dprintf(2, "cannot run /bin/bash: %s\n", strerror(errno));
	_exit(127);
}

/* Open a terminal; the pair's both ends, or a negative errno. */
static int open_terminal(int *master, int *slave)
{
	char name[64];
	int m = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (m < 0)
		return -errno;
	if (grantpt(m) < 0 || unlockpt(m) < 0 ||
	    ptsname_r(m, name, sizeof(name)) != 0) {
		close(m);
		return -EIO;
	}
	*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0) {
		int error = errno;

		close(m);
		return -error;
	}
	*master = m;
	return 0;
}

/* Start a command in a slot that has nothing open yet; 0 or negative errno. */
static int start(struct command *c, const uint8_t *head, const char *term,
		 const char *text)
{
	int terminal = head[0] & FLAG_TERMINAL, input = head[0] & FLAG_INPUT;
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
	int result = 0;
	pid_t pid;

	c->terminal = terminal;
	if (terminal) {
		result = open_terminal(&out[0], &out[1]);
		if (result == 0) {
			set_window(out[0], get16(head + 2), get16(head + 4));
			in[0] = fcntl(out[1], F_DUPFD_CLOEXEC, 3);
			err[1] = fcntl(out[1], F_DUPFD_CLOEXEC, 3);
			in[1] = fcntl(out[0], F_DUPFD_CLOEXEC, 3);
		}
		input = 1;
	} else {
		if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
			result = -errno;
		else if (input && pipe2(in, O_CLOEXEC) < 0)
			result = -errno;
		else if (!input)
			in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	if (result == 0 && input) {
		c->input = malloc(IN_WINDOW);
		if (!c->input)
			result = -ENOMEM;
	}
	if (result == 0) {
		pid = fork();
		if (pid == 0)
			become(in[0], out[1], err[1], terminal, term, text);
		if (pid < 0)
			result = -errno;
		else
			c->pid = pid;
	}
	close_fd(&in[0]);
	close_fd(&out[1]);
	close_fd(&err[1]);
	c->in = in[1];
	c->out[0] = out[0];
	c->out[1] = err[0];
	/* Only our ends: a pipe's two ends are two open files. */
	if (c->in >= 0)
		fcntl(c->in, F_SETFL, O_NONBLOCK | O_WRONLY);
	for (int i = 0; i < 2; i++)
		if (c->out[i] >= 0)
			fcntl(c->out[i], F_SETFL, O_NONBLOCK);
	return result;
}

static void on_exec(uint32_t id, const uint8_t *p, uint32_t length)
{
	const char *term, *text;
	struct command *c = NULL;
	int result = -EAGAIN;

	for (int i = 0; i < MAX_COMMANDS && !c; i++)
		if (!commands[i].used)
			c = &commands[i];
	if (!c) {
		note("more than %d commands at once", MAX_COMMANDS);
		if (tx_room(8)) {
			uint8_t *q = tx_frame(T_EXIT, id, 8);

			put32(q, KIND_NOT_STARTED);
			put32(q + 4, EAGAIN);
		}
		return;
	}
	memset(c, 0, sizeof(*c));
	c->used = 1;
	c->id = id;
	c->in = c->out[0] = c->out[1] = -1;
	if (length >= 10 && p[length - 1] == 0) {
		term = (const char *)p + 8;
		text = term + strlen(term) + 1;
		result = text < (const char *)p + length ?
				 start(c, p, term, text) :
				 -EINVAL;
	} else {
		result = -EINVAL;
	}
	if (result < 0) {
		close_fd(&c->in);
		close_fd(&c->out[0]);
		close_fd(&c->out[1]);
		c->kind = KIND_NOT_STARTED;
		c->status = -result;
	}
}

static void on_input(struct command *c, const uint8_t *p, uint32_t length)
{
	if (length == 0) {
		c->in_end = 1;
		return;
	}
	if (c->in < 0 || !c->input) { /* nobody reads: gone as if consumed */
		c->in_credit += length;
		return;
	}
	if (length > IN_WINDOW - c->in_len) {
		note("command %u: the host overran its input window", c->id);
		signal_command(c, SIGKILL);
		return;
	}
	for (uint32_t i = 0; i < length; i++)
		c->input[(c->in_head + c->in_len + i) % IN_WINDOW] = p[i];
	c->in_len += length;
}

static void on_frame(uint8_t type, uint32_t id, const uint8_t *p, uint32_t length)
{
	struct command *c = find(id);

	switch (type) {
	case HELLO:
		if (length < 8)
			return;
		drop_all();
		memcpy(&hello_nonce, p, 8);
		hello_due = 1;
		return;
	case EXEC:
		if (!c)
			on_exec(id, p, length);
		return;
	case POWEROFF:
		sync();
		reboot(RB_POWER_OFF);
		return;
	}
	if (!c) /* has ended, and the host does not know yet */
		return;
	if (type == INPUT) {
		on_input(c, p, length);
	} else if (type == KILL && length >= 4) {
		uint32_t signal = get32(p);

		if (signal < 65)
			signal_command(c, (int)signal);
	} else if (type == WINDOW && length >= 4) {
		if (c->terminal && c->out[0] >= 0)
			set_window(c->out[0], get16(p), get16(p + 2));
	} else if (type == CREDIT && length >= 8) {
		uint32_t stream = get32(p), bytes = get32(p + 4);

		if (stream >= 1 && stream <= 2 &&
		    bytes <= c->in_flight[stream - 1])
			c->in_flight[stream - 1] -= bytes;
	}
}

/* Read from the port and act on every whole frame; -1 if the host is gone. */
static int port_read(void)
{
	for (;;) {
		ssize_t n = read(port, rx + rx_len, sizeof(rx) - rx_len);
		uint32_t used = 0;

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		if (n == 0)
			return -1;
		rx_len += n;
		while (rx_len - used >= HEADER) {
			uint32_t length = get32(rx + used);

			if (length > MAX_PAYLOAD) {
				note("frame of %u bytes", length);
				return -1;
			}
			if (rx_len - used - HEADER < length)
				break;
			on_frame(rx[used + 8], get32(rx + used + 4),
				 rx + used + HEADER, length);
			used += HEADER + length;
		}
		memmove(rx, rx + used, rx_len - used);
		rx_len -= used;
	}
}

static void port_write(void)
{
	while (tx_start < tx_end) {
		uint32_t want = tx_end - tx_start;
		ssize_t n = write(port, tx + tx_start,
				  want > CHUNK ? CHUNK : want);

		if (n <= 0)
			return;
		tx_start += n;
	}
	tx_start = tx_end = 0;
}

/* Feed input that waits; tell the host about it. */
static void pump_input(struct command *c)
{
	while (c->in >= 0 && c->in_len > 0) {
		uint32_t run = IN_WINDOW - c->in_head;
		ssize_t n;

		if (run > c->in_len)
			run = c->in_len;
		n = write(c->in, c->input + c->in_head, run);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) { /* it has closed its input */
			c->in_credit += c->in_len;
			c->in_len = 0;
			close_fd(&c->in);
			break;
		}
		c->in_head = (c->in_head + n) % IN_WINDOW;
		c->in_len -= n;
		c->in_credit += n;
	}
	if (c->in_end && c->in_len == 0 && c->in >= 0) {
		if (c->terminal) /* a terminal has no end, but a character */
			(void)!write(c->in, "\004", 1);
		close_fd(&c->in);
	}
	if (c->in_credit > 0 && tx_room(4)) {
		put32(tx_frame(T_CREDIT, c->id, 4), c->in_credit);
		c->in_credit = 0;
	}
}

/* May output of this stream be read now? */
static int may_read(const struct command *c, int stream)
{
	return c->out[stream] >= 0 &&
	       c->in_flight[stream] + CHUNK <= OUT_WINDOW &&
	       TX_SIZE - (tx_end - tx_start) >= HEADER + CHUNK;
}

static void pump_output(struct command *c, int stream)
{
	while (may_read(c, stream) && tx_room(CHUNK)) {
		uint8_t *p = tx + tx_end + HEADER;
		ssize_t n = read(c->out[stream], p, CHUNK);

		if (n > 0) {
			tx_frame(T_OUTPUT + stream, c->id, n);
			c->in_flight[stream] += n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (c->pid > 0)
				return;
			/* The shell is gone, others hold the pipe. */
			if (!c->terminal) {
				keep_orphan(c->out[stream]);
				c->out[stream] = -1;
				return;
			}
		}
		/* End, or EIO of a terminal that nobody has open. */
		close_fd(&c->out[stream]);
		return;
	}
}

static void pump(struct command *c)
{
	pump_input(c);
	pump_output(c, 0);
	pump_output(c, 1);
	if (c->pid == 0 && c->out[0] < 0 && c->out[1] < 0 && tx_room(8)) {
		uint8_t *p = tx_frame(T_EXIT, c->id, 8);

		put32(p, c->kind);
		put32(p + 4, c->status);
		forget(c);
	}
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < MAX_COMMANDS; i++) {
			struct command *c = &commands[i];

			if (!c->used || c->pid != pid)
				continue;
			c->pid = 0;
			c->kind = WIFSIGNALED(status) ? KIND_SIGNAL : KIND_EXITED;
			c->status = WIFSIGNALED(status) ? WTERMSIG(status) :
							  WEXITSTATUS(status);
		}
	}
}

static void drain_orphan(int index)
{
	static char waste[CHUNK];
	ssize_t n = read(orphans[index], waste, sizeof(waste));

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	close(orphans[index]);
	orphans[index] = orphans[--orphan_count];
}

/* Open the port of our name, waiting for it to appear. */
static int open_port(void)
{
	char path[512], name[64];

	for (int tries = 0; tries < 400; tries++) {
		DIR *dir = opendir("/sys/class/virtio-ports");
		struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			FILE *file;
			int fd = -1;

			snprintf(path, sizeof(path),
				 "/sys/class/virtio-ports/%s/name",
				 entry->d_name);
			file = fopen(path, "re");
			if (!file)
				continue;
			if (fgets(name, sizeof(name), file) &&
			    strncmp(name, PORT_NAME "\n", sizeof(name)) == 0) {
				snprintf(path, sizeof(path), "/dev/%s",
					 entry->d_name);
				fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
			}
			fclose(file);
			if (fd >= 0) {
				closedir(dir);
				return fd;
			}
		}
		if (dir)
			closedir(dir);
		usleep(25000);
	}
	return -1;
}

static void loop(int signals)
{
	static struct pollfd fds[2 + 3 * MAX_COMMANDS + MAX_ORPHANS];
	int host_gone = 0;

	for (;;) {
		int count = 0, first_orphan, orphans_polled;

		/* With no host, the port is always ready: look now and then. */
		fds[count++] = (struct pollfd){
			.fd = host_gone ? -1 : port,
			.events = POLLIN | (tx_end > tx_start ? POLLOUT : 0),
		};
		fds[count++] = (struct pollfd){ .fd = signals, .events = POLLIN };
		for (int i = 0; i < MAX_COMMANDS; i++) {
			struct command *c = &commands[i];

			if (!c->used)
				continue;
			for (int s = 0; s < 2; s++)
				if (may_read(c, s))
					fds[count++] = (struct pollfd){
						.fd = c->out[s],
						.events = POLLIN,
					};
			if (c->in >= 0 && c->in_len > 0)
				fds[count++] = (struct pollfd){
					.fd = c->in,
					.events = POLLOUT,
				};
		}
		first_orphan = count;
		orphans_polled = orphan_count;
		for (int i = 0; i < orphan_count; i++)
			fds[count++] = (struct pollfd){ .fd = orphans[i],
							.events = POLLIN };
		poll(fds, count, host_gone ? 20 : -1);

		/* Backwards: a closed one's place is taken by the last. */
		for (int i = orphans_polled - 1; i >= 0; i--)
			if (fds[first_orphan + i].revents)
				drain_orphan(i);
		if (fds[1].revents) {
			struct signalfd_siginfo info;

			while (read(signals, &info, sizeof(info)) > 0)
				;
			reap();
		}
		if (host_gone || fds[0].revents) {
			int gone = port_read() < 0;

			if (gone && !host_gone) {
				note("the host is gone");
				drop_all();
				rx_len = 0;
			}
			host_gone = gone;
		}
		if (hello_due && tx_room(12)) {
			uint8_t *p = tx_frame(T_HELLO, 0, 12);

			memcpy(p, &hello_nonce, 8);
			put32(p + 8, VERSION);
			hello_due = 0;
		}
		for (int i = 0; i < MAX_COMMANDS; i++)
			if (commands[i].used)
				pump(&commands[i]);
		if (!host_gone)
			port_write();
	}
}

int main(void)
{
	sigset_t mask;
	int signals;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	port = open_port();
	if (signals < 0 || port < 0) {
		note("no port named " PORT_NAME);
		return 1;
	}
	loop(signals);
}
