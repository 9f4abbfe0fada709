/* Preloaded into a program: notes every host name that it looks up, and finds only this machine.
 * Python's own resolver functions and native libraries both call getaddrinfo(3). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

typedef int (*lookup)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int is_this_machine(const char *name)
{
    return name == NULL || strcmp(name, "localhost") == 0 || strncmp(name, "127.", 4) == 0 ||
           strcmp(name, "::1") == 0 || strcmp(name, "0.0.0.0") == 0;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    if (!is_this_machine(name)) {
        const char *path = getenv("RECORDED_LOOKUPS");
        int log = path == NULL ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (log >= 0) {
            struct iovec line[2] = {{(void *)name, strlen(name)}, {"\n", 1}};
            if (writev(log, line, 2) < 0)
                abort();
            close(log);
        }
        return EAI_NONAME;
    }
    return ((lookup)dlsym(RTLD_NEXT, "getaddrinfo"))(name, service, hints, found);
}
