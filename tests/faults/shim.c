/* A file system and a clock that fail as they are told to, between a process and its C library (LD_PRELOAD).
 *
 * Only calls on the files of one log are touched: FILE, FILE-wal, FILE-shm, FILE-journal, and all below FILE.shared/.
 * What they are told stands in a control file that is mapped into memory by both sides, so that a test can change it
 * while the process runs. The control file is named by PERDURE_FAULTS when the process begins, or later by a call of
 * `perdure_faults(path)`: a forked child gets one of its own in this way.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* The same layout is in shim.py. */
struct control {
    char file[1024];   /* the log's own file, absolute and without links */
    int64_t files;     /* which files count: bits of enum kind */
    int64_t calls;     /* which calls count: bits of enum call */
    int64_t nth;       /* the first of them that fails, counted from 1; 0: none */
    int64_t times;     /* how many fail from there on; negative: all */
    int64_t error;     /* the errno of a failing call */
    int64_t torn;      /* a failing write: 0 writes nothing; 1 half, and fails; 2 half, and says so; 3 half, and dies */
    int64_t sync_us;   /* how much longer each sync takes */
    int64_t clock_us;  /* how far the wall clock is ahead */
    int64_t frozen_us; /* the time at which the wall clock stands; 0: it goes */
    int64_t counted;   /* calls that counted so far */
    int64_t failed;    /* calls that failed by order */
    int64_t last;      /* the call that failed last, a bit of enum call */
    int64_t synced;    /* syncs that were made */
};

enum kind { DB = 1, WAL = 2, SHM = 4, SHARED = 8 };
enum call { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, TRUNCATE = 16, MAP = 32, UNLINK = 64, RENAME = 128, LOCK = 256 };

#define FDS 4096
static volatile struct control *control;
static unsigned char kinds[FDS];

#define REAL(result, name, ...)                                                    \
    static result (*real)(__VA_ARGS__);                                            \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int real_open(const char *path, int flags, mode_t mode) {
    REAL(int, "open64", const char *, int, ...);
    return real(path, flags, mode);
}

void perdure_faults(const char *path) {
    if (control) munmap((void *)control, sizeof(struct control));
    control = NULL;
    memset(kinds, 0, sizeof kinds);
    int fd = real_open(path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    REAL(void *, "mmap", void *, size_t, int, int, int, off_t);
    void *at = real(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) control = at;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PERDURE_FAULTS");
    if (path) perdure_faults(path);
}

static int kind_of(const char *path) {
    if (!control || !path) return 0;
    char whole[PATH_MAX];
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole) || strlen(whole) + strlen(path) + 2 > sizeof whole) return 0;
        strcat(strcat(whole, "/"), path);
        path = whole;
    }
    size_t length = strlen((const char *)control->file);
    if (!length || strncmp(path, (const char *)control->file, length)) return 0;
    path += length;
    if (!*path || !strcmp(path, "-journal")) return DB;
    if (!strcmp(path, "-wal")) return WAL;
    if (!strcmp(path, "-shm")) return SHM;
    if (!strncmp(path, ".shared", 7) && (!path[7] || path[7] == '/')) return SHARED;
    return 0;
}

static int kind_at(int folder, const char *path) {
    return folder == AT_FDCWD || (path && path[0] == '/') ? kind_of(path) : 0;
}

static int kind_of_fd(int fd) { return fd >= 0 && fd < FDS ? kinds[fd] : 0; }

static int remember(int fd, int kind) {
    if (fd >= 0 && fd < FDS) kinds[fd] = kind;
    return fd;
}

/* Whether this call fails; errno is set then. */
static int fails(int kind, enum call call) {
    if (!control || !(kind & control->files) || !(call & control->calls)) return 0;
    int64_t number = __atomic_add_fetch(&control->counted, 1, __ATOMIC_SEQ_CST);
    int64_t nth = control->nth, times = control->times;
    if (!nth || number < nth || (times >= 0 && number >= nth + times)) return 0;
    control->last = call;
    __atomic_add_fetch(&control->failed, 1, __ATOMIC_SEQ_CST);
    errno = (int)control->error;
    return 1;
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

#define MODE(flags)                                    \
    mode_t mode = 0;                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {             \
        va_list rest;                                  \
        va_start(rest, flags);                         \
        mode = va_arg(rest, mode_t);                   \
        va_end(rest);                                  \
    }

#define OPENS(name)                                                  \
    int name(const char *path, int flags, ...) {                     \
        MODE(flags);                                                 \
        int kind = kind_of(path);                                    \
        if (kind && fails(kind, OPEN)) return -1;                    \
        REAL(int, #name, const char *, int, ...);                    \
        return remember(real(path, flags, mode), kind);              \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                               \
    int name(int folder, const char *path, int flags, ...) {         \
        MODE(flags);                                                 \
        int kind = kind_at(folder, path);                            \
        if (kind && fails(kind, OPEN)) return -1;                    \
        REAL(int, #name, int, const char *, int, ...);               \
        return remember(real(folder, path, flags, mode), kind);      \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int close(int fd) {
    remember(fd, 0);
    REAL(int, "close", int);
    return real(fd);
}

/* --- reading and writing ------------------------------------------------------------------------------------------ */

ssize_t read(int fd, void *to, size_t size) {
    int kind = kind_of_fd(fd);
    if (kind && fails(kind, READ)) return -1;
    REAL(ssize_t, "read", int, void *, size_t);
    return real(fd, to, size);
}

#define READS(name, type)                                                 \
    ssize_t name(int fd, void *to, size_t size, type offset) {            \
        int kind = kind_of_fd(fd);                                        \
        if (kind && fails(kind, READ)) return -1;                         \
        REAL(ssize_t, #name, int, void *, size_t, type);                  \
        return real(fd, to, size, offset);                                \
    }
READS(pread, off_t)
READS(pread64, off64_t)

/* What a failing write comes to, once half of it was written. */
static ssize_t torn(ssize_t half) {
    if (control->torn == 3) raise(SIGKILL);
    if (control->torn == 2 && half > 0) return half;
    errno = (int)control->error;
    return -1;
}

ssize_t write(int fd, const void *from, size_t size) {
    int kind = kind_of_fd(fd);
    REAL(ssize_t, "write", int, const void *, size_t);
    if (kind && fails(kind, WRITE)) return control->torn ? torn(real(fd, from, size / 2)) : -1;
    return real(fd, from, size);
}

#define WRITES(name, type)                                                                              \
    ssize_t name(int fd, const void *from, size_t size, type offset) {                                  \
        int kind = kind_of_fd(fd);                                                                      \
        REAL(ssize_t, #name, int, const void *, size_t, type);                                          \
        if (kind && fails(kind, WRITE)) return control->torn ? torn(real(fd, from, size / 2, offset)) : -1; \
        return real(fd, from, size, offset);                                                            \
    }
WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)

/* --- syncing, cutting, mapping ------------------------------------------------------------------------------------ */

#define SYNCS(name)                                                                                           \
    int name(int fd) {                                                                                        \
        int kind = kind_of_fd(fd);                                                                            \
        if (kind && fails(kind, SYNC)) return -1;                                                             \
        if (kind && (kind & control->files)) {                                                                \
            int64_t more = control->sync_us;                                                                  \
            if (more) {                                                                                       \
                struct timespec pause = {more / 1000000, more % 1000000 * 1000};                              \
                while (nanosleep(&pause, &pause) && errno == EINTR) continue;                                 \
            }                                                                                                 \
            __atomic_add_fetch(&control->synced, 1, __ATOMIC_SEQ_CST);                                        \
        }                                                                                                     \
        REAL(int, #name, int);                                                                                \
        return real(fd);                                                                                      \
    }
SYNCS(fsync)
SYNCS(fdatasync)

#define CUTS(name, type)                                      \
    int name(int fd, type size) {                             \
        int kind = kind_of_fd(fd);                            \
        if (kind && fails(kind, TRUNCATE)) return -1;         \
        REAL(int, #name, int, type);                          \
        return real(fd, size);                                \
    }
CUTS(ftruncate, off_t)
CUTS(ftruncate64, off64_t)

#define ALLOCATES(name, type)                                 \
    int name(int fd, type offset, type size) {                \
        int kind = kind_of_fd(fd);                            \
        if (kind && fails(kind, TRUNCATE)) return errno;      \
        REAL(int, #name, int, type, type);                    \
        return real(fd, offset, size);                        \
    }
ALLOCATES(posix_fallocate, off_t)
ALLOCATES(posix_fallocate64, off64_t)

#define MAPS(name, type)                                                                          \
    void *name(void *at, size_t size, int protection, int flags, int fd, type offset) {           \
        int kind = kind_of_fd(fd);                                                                \
        if (kind && fails(kind, MAP)) return MAP_FAILED;                                          \
        REAL(void *, #name, void *, size_t, int, int, int, type);                                 \
        return real(at, size, protection, flags, fd, offset);                                     \
    }
MAPS(mmap, off_t)
MAPS(mmap64, off64_t)

int unlink(const char *path) {
    int kind = kind_of(path);
    if (kind && fails(kind, UNLINK)) return -1;
    REAL(int, "unlink", const char *);
    return real(path);
}

int rename(const char *from, const char *to) {
    int kind = kind_of(to);
    if (kind && fails(kind, RENAME)) return -1;
    REAL(int, "rename", const char *, const char *);
    return real(from, to);
}

#define CONTROLS(name)                                                                                      \
    int name(int fd, int what, ...) {                                                                       \
        va_list rest;                                                                                       \
        va_start(rest, what);                                                                               \
        void *argument = va_arg(rest, void *);                                                              \
        va_end(rest);                                                                                       \
        int kind = kind_of_fd(fd);                                                                          \
        if (kind && (what == F_SETLK || what == F_SETLKW || what == F_GETLK) && fails(kind, LOCK)) return -1; \
        REAL(int, #name, int, int, ...);                                                                    \
        return real(fd, what, argument);                                                                    \
    }
CONTROLS(fcntl)
CONTROLS(fcntl64)

/* --- the wall clock ----------------------------------------------------------------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, now);
    if (result || !control || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    int64_t us = control->frozen_us;
    if (us) {
        now->tv_sec = us / 1000000;
        now->tv_nsec = us % 1000000 * 1000;
    } else if (control->clock_us) {
        us = now->tv_nsec / 1000 + control->clock_us % 1000000;
        now->tv_sec += control->clock_us / 1000000 + (us < 0 ? -1 : us / 1000000);
        now->tv_nsec = (us < 0 ? us + 1000000 : us % 1000000) * 1000;
    }
    return 0;
}

int gettimeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *to) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (to) *to = exact.tv_sec;
    return exact.tv_sec;
}
