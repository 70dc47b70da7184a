/* Preloaded into a Python process: the folder "netfs" behaves as network file systems do under SQLite.
   LOCKS=busy: locks are refused as held.  LOCKS=nolock: there is no lock service.  LOCKS=unsupported: locks are unknown.
   LOCKS=noshm: files cannot be mapped shared.  LOCKS=forgotten: every lock is taken, none is kept. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_there(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/netfs/") != NULL;
}

static int is(const char *mode) {
    const char *wanted = getenv("LOCKS");
    return wanted != NULL && strcmp(wanted, mode) == 0;
}

typedef int (*fcntl_type)(int, int, ...);

static int locked(fcntl_type real, int fd, int command, void *argument) {
    int is_lock = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    if (is_lock && is_there(fd)) {
        if (is("forgotten")) return 0;
        if (((struct flock *)argument)->l_type != F_UNLCK) {
            errno = is("busy") ? EACCES : is("nolock") ? ENOLCK : is("unsupported") ? EOPNOTSUPP : 0;
            if (errno != 0) return -1;
        }
    }
    return real(fd, command, argument);
}

#define WRAP_FCNTL(name)                                             \
    int name(int fd, int command, ...) {                             \
        static fcntl_type real;                                      \
        va_list rest;                                                \
        va_start(rest, command);                                     \
        void *argument = va_arg(rest, void *);                       \
        va_end(rest);                                                \
        if (real == NULL) real = (fcntl_type)dlsym(RTLD_NEXT, #name); \
        return locked(real, fd, command, argument);                  \
    }
WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)

typedef void *(*mmap_type)(void *, size_t, int, int, int, off_t);

#define WRAP_MMAP(name)                                                                     \
    void *name(void *at, size_t size, int rights, int flags, int fd, off_t offset) {        \
        static mmap_type real;                                                              \
        if (real == NULL) real = (mmap_type)dlsym(RTLD_NEXT, #name);                        \
        if (fd >= 0 && (flags & MAP_SHARED) && is("noshm") && is_there(fd)) {               \
            errno = ENODEV;                                                                 \
            return MAP_FAILED;                                                              \
        }                                                                                   \
        return real(at, size, rights, flags, fd, offset);                                   \
    }
WRAP_MMAP(mmap)
WRAP_MMAP(mmap64)
