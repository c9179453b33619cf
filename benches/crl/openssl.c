// What OpenSSL takes to load a CRL, to look into it, and to keep it. See openssl.rs.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/x509.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static size_t used(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static unsigned char *content(const char *path, long *length) {
    FILE *file = fopen(path, "rb");
    if (!file) exit(2);
    fseek(file, 0, SEEK_END);
    *length = ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*length);
    if (fread(bytes, 1, *length, file) != (size_t)*length) exit(2);
    fclose(file);
    return bytes;
}

// Nanoseconds a look-up of serial numbers of 16 octets, each of which must be there or must not.
static double looking(X509_CRL *crl, const char *path, int expected, long most) {
    long length;
    unsigned char *bytes = content(path, &length);
    long count = length / 16;
    if (count > most) count = most;
    ASN1_INTEGER **asked = malloc(count * sizeof *asked);
    for (long at = 0; at < count; at++) {
        asked[at] = ASN1_INTEGER_new();
        ASN1_STRING_set(asked[at], bytes + 16 * at, 16);
    }
    double began = now();
    for (long at = 0; at < count; at++) {
        X509_REVOKED *found;
        if ((X509_CRL_get0_by_serial(crl, &found, asked[at]) != 0) != expected) exit(3);
    }
    return (now() - began) / count;
}

int main(int count, char **arguments) {
    if (count != 5) return 2;
    long length, of_ca;
    const unsigned char *at = content(arguments[1], &of_ca);
    X509 *ca = d2i_X509(NULL, &at, of_ca);
    unsigned char *der = content(arguments[2], &length);
    double load = 1e18;
    size_t kept = 0;
    X509_CRL *crl = NULL;
    for (int run = 0; run < 3; run++) {
        X509_CRL_free(crl);
        size_t before = used();
        double began = now();
        at = der;
        crl = d2i_X509_CRL(NULL, &at, length);
        if (!crl || X509_CRL_verify(crl, X509_get0_pubkey(ca)) != 1) return 4;
        double took = now() - began;
        if (took < load) load = took;
        kept = used() - before;
    }
    // The first one sorts the list.
    double first = looking(crl, arguments[4], 0, 1);
    double hit = looking(crl, arguments[3], 1, 100000000);
    double miss = looking(crl, arguments[4], 0, 100000000);
    printf("%f %f %f %f %zu\n", load / 1e6, first / 1e6, hit, miss, kept);
    return 0;
}
