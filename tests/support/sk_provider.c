// SPDX-License-Identifier: Apache-2.0
// A security key in software for OpenSSH's SSH_SK_PROVIDER (sk-api.h, version 10): the key handle is the
// private key itself. The variable SK_FLAGS says which flags a signature has, whatever OpenSSH asks for.
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ECDSA 0
#define FAILED -1

struct sk_option;
struct sk_resident_key;
struct sk_enroll_response {
  uint8_t flags;
  uint8_t *public_key; size_t public_key_len;
  uint8_t *key_handle; size_t key_handle_len;
  uint8_t *signature; size_t signature_len;
  uint8_t *attestation_cert; size_t attestation_cert_len;
  uint8_t *authdata; size_t authdata_len;
};
struct sk_sign_response {
  uint8_t flags;
  uint32_t counter;
  uint8_t *sig_r; size_t sig_r_len;
  uint8_t *sig_s; size_t sig_s_len;
};

uint32_t sk_api_version(void) { return 0x000a0000; }

static EVP_PKEY *from_handle(const uint8_t *handle, size_t size) {
  return d2i_AutoPrivateKey(NULL, &handle, (long)size);
}

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application,
              uint8_t flags, const char *pin, struct sk_option **options,
              struct sk_enroll_response **response) {
  EVP_PKEY *key = alg == ECDSA ? EVP_EC_gen("P-256") : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
  struct sk_enroll_response *made = calloc(1, sizeof(*made));
  (void)challenge, (void)challenge_len, (void)application, (void)pin, (void)options;
  if (!key || !made) return FAILED;
  made->flags = flags;
  made->key_handle_len = (size_t)i2d_PrivateKey(key, &made->key_handle);
  made->public_key = calloc(1, 65);
  made->public_key_len = 65;
  if (alg == ECDSA) {
    if (!EVP_PKEY_get_octet_string_param(key, "pub", made->public_key, 65, &made->public_key_len)) return FAILED;
  } else if (!EVP_PKEY_get_raw_public_key(key, made->public_key, &made->public_key_len)) {
    return FAILED;
  }
  made->signature = calloc(1, 1);
  made->signature_len = 1;
  made->attestation_cert = calloc(1, 1);
  made->attestation_cert_len = 1;
  made->authdata = calloc(1, 1);
  made->authdata_len = 1;
  EVP_PKEY_free(key);
  *response = made;
  return 0;
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t data_len, const char *application,
            const uint8_t *handle, size_t handle_len, uint8_t flags, const char *pin,
            struct sk_option **options, struct sk_sign_response **response) {
  const char *wanted = getenv("SK_FLAGS");
  struct sk_sign_response *made = calloc(1, sizeof(*made));
  EVP_PKEY *key = from_handle(handle, handle_len);
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  uint8_t text[32 + 1 + 4 + 32] = {0}, signature[128];
  size_t size = sizeof(signature);
  (void)pin, (void)options;
  if (!key || !made || !context) return FAILED;
  made->flags = wanted ? (uint8_t)atoi(wanted) : flags;
  made->counter = 7;
  SHA256((const uint8_t *)application, strlen(application), text);
  text[32] = made->flags;
  text[36] = 7;
  SHA256(data, data_len, text + 37);
  if (!EVP_DigestSignInit(context, NULL, alg == ECDSA ? EVP_sha256() : NULL, NULL, key)) return FAILED;
  if (!EVP_DigestSign(context, signature, &size, text, sizeof(text))) return FAILED;
  if (alg == ECDSA) {
    const uint8_t *place = signature;
    ECDSA_SIG *parts = d2i_ECDSA_SIG(NULL, &place, (long)size);
    made->sig_r = calloc(1, made->sig_r_len = (size_t)BN_num_bytes(ECDSA_SIG_get0_r(parts)));
    made->sig_s = calloc(1, made->sig_s_len = (size_t)BN_num_bytes(ECDSA_SIG_get0_s(parts)));
    BN_bn2bin(ECDSA_SIG_get0_r(parts), made->sig_r);
    BN_bn2bin(ECDSA_SIG_get0_s(parts), made->sig_s);
    ECDSA_SIG_free(parts);
  } else {
    made->sig_r = malloc(made->sig_r_len = size);
    memcpy(made->sig_r, signature, size);
  }
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(key);
  *response = made;
  return 0;
}

int sk_load_resident_keys(const char *pin, struct sk_option **options, struct sk_resident_key ***keys,
                          size_t *count) {
  (void)pin, (void)options, (void)keys, (void)count;
  return FAILED;
}
