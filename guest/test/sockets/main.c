/* SPDX-License-Identifier: MIT */
/*
 * sockets ADDRESS ADDRESS6 [--reached ADDRESS ADDRESS6] [CASE…]: runs the cases over these addresses, each in a process of its own, and
 * prints a line of JSON for each: {"case": name, "saw": [lines]}. --reached: what is bound there is reached at these.
 */
#define _GNU_SOURCE
#include "sockets.h"

#include <arpa/inet.h>
#include <signal.h>

#define CASE_SECONDS 40
#define TEXT_MAX (256 << 10)

static const struct test *const all[] = { moving_tests, setup_tests,   closing_tests, option_tests,   waiting_tests,
					  signal_tests, sharing_tests, uring_tests,   datagram_tests, ancillary_tests };

static void print_string(const char *s, size_t n)
{
	putchar('"');
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '"' || s[i] == '\\')
			printf("\\%c", s[i]);
		else if ((unsigned char)s[i] < 32 || (unsigned char)s[i] > 126)
			printf("\\u%04x", (unsigned char)s[i]);
		else
			putchar(s[i]);
	}
	putchar('"');
}

static void print_case(const char *name, const char *text, size_t n, int status)
{
	const char *end, *comma = "";

	printf("{\"case\":");
	print_string(name, strlen(name));
	printf(",\"saw\":[");
	for (; n > 0 && (end = memchr(text, '\n', n)); n -= (size_t)(end + 1 - text), text = end + 1, comma = ",") {
		fputs(comma, stdout);
		print_string(text, (size_t)(end - text));
	}
	if (WIFSIGNALED(status))
		printf("%s\"%s\"", comma,
		       WTERMSIG(status) == SIGKILL ? "it took too long" : strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		printf("%s\"it gave up\"", comma);
	printf("]}\n");
	fflush(stdout);
}

static void run(const struct test *t)
{
	static char text[TEXT_MAX];
	size_t n = 0;
	ssize_t got;
	int pipes[2], status;
	pid_t child, watcher;

	if (pipe(pipes) < 0)
		exit(1);
	child = fork();
	if (child == 0) {
		setpgid(0, 0);
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		alarm(CASE_SECONDS);
		signal(SIGALRM, SIG_DFL);
		signal(SIGPIPE, SIG_IGN);
		t->run(t->parameter);
		exit(0);
	}
	close(pipes[1]);
	watcher = fork();
	if (watcher == 0) {
		close(pipes[0]);
		for (int i = 0; i < CASE_SECONDS * 10 && kill(getppid(), 0) == 0; i++)
			usleep(100000);
		kill(-child, SIGKILL);
		_exit(0);
	}
	while (n < sizeof(text) && (got = read(pipes[0], text + n, sizeof(text) - n)) > 0)
		n += (size_t)got;
	close(pipes[0]);
	waitpid(child, &status, 0);
	kill(-child, SIGKILL);
	kill(watcher, SIGKILL);
	waitpid(watcher, NULL, 0);
	print_case(t->name, text, n, status);
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(name, argv[i]) == 0)
			return true;
	return argc == 0;
}

static bool addresses(char **argv, struct sockaddr_in *four, struct sockaddr_in6 *six)
{
	return inet_pton(AF_INET, argv[0], &four->sin_addr) == 1 && inet_pton(AF_INET6, argv[1], &six->sin6_addr) == 1;
}

int main(int argc, char **argv)
{
	program = "/proc/self/exe";
	if (argc == 3 && strcmp(argv[1], "--child") == 0) { /* sharing.c: a program that was given a socket */
		did("write after exec", write(atoi(argv[2]), "child", 5));
		return 0;
	}
	if (argc < 3 || !addresses(argv + 1, &there, &there6))
		return 2;
	argc -= 3;
	argv += 3;
	reached = there;
	reached6 = there6;
	if (argc >= 3 && strcmp(argv[0], "--reached") == 0) {
		if (!addresses(argv + 1, &reached, &reached6))
			return 2;
		argc -= 3;
		argv += 3;
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		for (const struct test *t = all[i]; t->name; t++)
			if (wanted(t->name, argc, argv))
				run(t);
	return 0;
}
