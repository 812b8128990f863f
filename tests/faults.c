/* A worse operating system, for tests: by LD_PRELOAD, calls that touch files below one folder can fail, be cut
 * short, kill the process, or be written down; and the clock can be wrong. Nothing happens until `faults_arm`. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What happens at the n-th call: a positive number is the errno it fails with. */
enum { COUNT = 0, SHORT = -1, KILL = -2, TEAR = -3, RECORD = -4 };

static char folder[PATH_MAX], wanted[16];
static long at;
static int how, record = -1;
static atomic_long seen;

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

/* Calls named `call` ("any": all) below `below` are counted; the n-th meets `fault`; RECORD writes them to `fd`. */
void faults_arm(const char *below, const char *call, long n, int fault, int fd) {
    snprintf(folder, sizeof folder, "%s", below);
    snprintf(wanted, sizeof wanted, "%s", call);
    at = n, how = fault, record = fd;
    atomic_store(&seen, 0);
}

long faults_seen(void) { return atomic_load(&seen); }

static int below(const char *path) {
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static const char *path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

/* 0: go on; else what happens to this call. */
static int fault(const char *call, const char *path) {
    if (!below(path) || (strcmp(wanted, "any") && strcmp(wanted, call))) return 0;
    if (how == RECORD) return RECORD;
    if (atomic_fetch_add(&seen, 1) + 1 != at) return 0;
    if (how == KILL) raise(SIGKILL);
    if (how > 0) errno = how;
    return how;
}

static void note(const char *call, const char *one, const char *two, const void *bytes, size_t length) {
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    int saved = errno;
    pthread_mutex_lock(&one_at_a_time);
    dprintf(record, "%s\t%s\t%s\t%zu\n", call, one, two, length);
    if (length && REAL(write)(record, bytes, length) != (ssize_t)length) abort();
    pthread_mutex_unlock(&one_at_a_time);
    errno = saved;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_MAX];
    int met = *folder && fd != record ? fault("write", path_of(fd, path)) : 0;
    if (met > 0) return -1;
    if ((met == SHORT || met == TEAR) && length > 1) length /= 2;
    ssize_t done = REAL(write)(fd, bytes, length);
    if (met == TEAR) raise(SIGKILL);
    if (met == RECORD && done > 0) note("write", path, "", bytes, (size_t)done);
    return done;
}

#define ON_FILE(name)                                                   \
    int name(int fd) {                                                  \
        char path[PATH_MAX];                                            \
        int met = *folder ? fault("fsync", path_of(fd, path)) : 0;      \
        if (met > 0) return -1;                                         \
        int done = REAL(name)(fd);                                      \
        if (met == RECORD && !done) note("fsync", path, "", "", 0);     \
        return done;                                                    \
    }
ON_FILE(fsync)
ON_FILE(fdatasync)

#define ON_PATH(name, call, parameters, path, two, ...)                 \
    int name parameters {                                               \
        int met = *folder ? fault(call, path) : 0;                      \
        if (met > 0) return -1;                                         \
        int done = REAL(name)(__VA_ARGS__);                             \
        if (met == RECORD && !done) note(call, path, two, "", 0);       \
        return done;                                                    \
    }
ON_PATH(link, "link", (const char *from, const char *to), from, to, from, to)
ON_PATH(linkat, "link", (int a, const char *from, int b, const char *to, int flags), from, to, a, from, b, to, flags)
ON_PATH(rename, "rename", (const char *from, const char *to), from, to, from, to)
ON_PATH(unlink, "unlink", (const char *path), path, "", path)
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), path, "", path, mode)

#define ON_OPEN(name, before, ...)                                                      \
    int name(before const char *path, int flags, ...) {                                 \
        va_list more;                                                                   \
        va_start(more, flags);                                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;         \
        va_end(more);                                                                   \
        int met = *folder ? fault("open", path) : 0;                                    \
        if (met > 0) return -1;                                                         \
        int fd = REAL(name)(__VA_ARGS__ path, flags, mode);                             \
        if (met == RECORD && fd >= 0 && flags & O_CREAT) note("create", path, "", "", 0); \
        return fd;                                                                      \
    }
#define NONE
#define AT int at_folder,
#define AT_GIVEN at_folder,
ON_OPEN(open, NONE, NONE)
ON_OPEN(open64, NONE, NONE)
ON_OPEN(openat, AT, AT_GIVEN)
ON_OPEN(openat64, AT, AT_GIVEN)

DIR *opendir(const char *path) {
    if (*folder && fault("opendir", path) > 0) return NULL;
    return REAL(opendir)(path);
}

/* Seconds by which the clock is wrong: the variable FAULTS_CLOCK. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = REAL(clock_gettime)(clock, now);
    const char *wrong = getenv("FAULTS_CLOCK");
    if (wrong && clock == CLOCK_REALTIME) now->tv_sec += atol(wrong);
    return done;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
