/* Loaded before the C library: delays writes to files, and syncs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void wait_ms(const char *variable)
{
    const char *text = getenv(variable);
    long ms = text ? atol(text) : 0;
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

ssize_t write(int file, const void *bytes, size_t count)
{
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    struct stat status;
    if (fstat(file, &status) == 0 && S_ISREG(status.st_mode))
        wait_ms("SLOW_WRITE_MS");
    return next(file, bytes, count);
}

int fsync(int file)
{
    int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
    wait_ms("SLOW_SYNC_MS");
    return next(file);
}
