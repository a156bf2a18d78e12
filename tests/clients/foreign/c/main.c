/* SPDX-License-Identifier: Apache-2.0 */

/* Runs steps of tests/support/foreign.py with libssh. */
#define LIBSSH_LEGACY_SCP 1 /* deprecated there, and in use */
#include <fcntl.h>
#include <libssh/libssh.h>
#include <libssh/sftp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 3, CHUNK = 32768 };

static void flat(char *text)
{
    for (; *text; text++)
        if (*text == '\n' || *text == '\r' || *text == '\t')
            *text = ' ';
}

static void failed(ssh_session session, sftp_session files)
{
    char text[512];
    snprintf(text, sizeof text, "%s", ssh_get_error(session));
    flat(text);
    if (files && sftp_get_error(files) > 0)
        printf("error\t%d\t%s\n", sftp_get_error(files), text);
    else
        printf("error\t\t%s\n", text);
}

static int login(ssh_session session, char **words)
{
    int port = atoi(words[2]);
    ssh_options_set(session, SSH_OPTIONS_HOST, words[1]);
    ssh_options_set(session, SSH_OPTIONS_PORT, &port);
    ssh_options_set(session, SSH_OPTIONS_USER, words[3]);
    if (ssh_connect(session) != SSH_OK)
        return -1;
    if (strcmp(words[4], "key") != 0)
        return ssh_userauth_password(session, NULL, words[5]) == SSH_AUTH_SUCCESS ? 0 : -1;
    ssh_key key = NULL;
    if (ssh_pki_import_privkey_file(words[5], NULL, NULL, NULL, &key) != SSH_OK)
        return -1;
    int result = ssh_userauth_publickey(session, NULL, key);
    ssh_key_free(key);
    return result == SSH_AUTH_SUCCESS ? 0 : -1;
}

static int put(sftp_session files, const char *local, const char *remote)
{
    static char chunk[CHUNK];
    size_t size;
    int result = 0;
    FILE *source = fopen(local, "rb");
    sftp_file target = sftp_open(files, remote, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (!source || !target)
        result = -1;
    while (result == 0 && (size = fread(chunk, 1, sizeof chunk, source)) > 0)
        if (sftp_write(target, chunk, size) != (ssize_t)size)
            result = -1;
    if (target && sftp_close(target) != SSH_OK)
        result = -1;
    if (source)
        fclose(source);
    return result;
}

static int get(sftp_session files, const char *remote, const char *local)
{
    static char chunk[CHUNK];
    ssize_t size = -1;
    FILE *target = fopen(local, "wb");
    sftp_file source = sftp_open(files, remote, O_RDONLY, 0);
    if (source && target)
        while ((size = sftp_read(source, chunk, sizeof chunk)) > 0)
            if (fwrite(chunk, 1, (size_t)size, target) != (size_t)size)
                break;
    if (source)
        sftp_close(source);
    if (target && fclose(target) != 0)
        return -1;
    return size == 0 ? 0 : -1;
}

static int list(sftp_session files, const char *path)
{
    sftp_dir directory = sftp_opendir(files, path);
    sftp_attributes entry;
    if (!directory)
        return -1;
    printf("ok");
    while ((entry = sftp_readdir(files, directory)) != NULL) {
        if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
            printf("\t%s", entry->name);
        sftp_attributes_free(entry);
    }
    printf("\n");
    sftp_closedir(directory);
    return 1;
}

static int command(ssh_session session, const char *line)
{
    char said[512], rest[512];
    int size = 0, more;
    ssh_channel channel = ssh_channel_new(session);
    if (!channel || ssh_channel_open_session(channel) != SSH_OK || ssh_channel_request_exec(channel, line) != SSH_OK) {
        if (channel)
            ssh_channel_free(channel);
        return -1;
    }
    while (size < (int)sizeof said - 1 && (more = ssh_channel_read(channel, said + size, sizeof said - 1 - size, 1)) > 0)
        size += more;
    said[size] = 0;
    flat(said);
    while (ssh_channel_read(channel, rest, sizeof rest, 0) > 0)
        continue;
    printf("ok\t%d\t%s\n", ssh_channel_get_exit_status(channel), said);
    ssh_channel_close(channel);
    ssh_channel_free(channel);
    return 1;
}

static int scp_put(ssh_session session, const char *local, const char *remote)
{
    static char chunk[CHUNK];
    size_t size;
    long whole;
    int result = -1;
    FILE *source = fopen(local, "rb");
    ssh_scp scp = ssh_scp_new(session, SSH_SCP_WRITE, remote);
    if (source && scp && fseek(source, 0, SEEK_END) == 0 && (whole = ftell(source)) >= 0) {
        rewind(source);
        result = ssh_scp_init(scp) == SSH_OK && ssh_scp_push_file64(scp, remote, (uint64_t)whole, 0644) == SSH_OK ? 0 : -1;
    }
    while (result == 0 && (size = fread(chunk, 1, sizeof chunk, source)) > 0)
        if (ssh_scp_write(scp, chunk, size) != SSH_OK)
            result = -1;
    if (scp) {
        if (ssh_scp_close(scp) != SSH_OK)
            result = -1;
        ssh_scp_free(scp);
    }
    if (source)
        fclose(source);
    return result;
}

static int scp_get(ssh_session session, const char *remote, const char *local)
{
    static char chunk[CHUNK];
    uint64_t left = 0;
    int result = -1, size;
    FILE *target = fopen(local, "wb");
    ssh_scp scp = ssh_scp_new(session, SSH_SCP_READ, remote);
    if (target && scp && ssh_scp_init(scp) == SSH_OK && ssh_scp_pull_request(scp) == SSH_SCP_REQUEST_NEWFILE) {
        left = ssh_scp_request_get_size64(scp);
        result = ssh_scp_accept_request(scp) == SSH_OK ? 0 : -1;
    }
    while (result == 0 && left > 0) {
        size = ssh_scp_read(scp, chunk, left < sizeof chunk ? (size_t)left : sizeof chunk);
        if (size <= 0 || fwrite(chunk, 1, (size_t)size, target) != (size_t)size)
            result = -1;
        else
            left -= (uint64_t)size;
    }
    if (result == 0 && ssh_scp_pull_request(scp) != SSH_SCP_REQUEST_EOF)
        result = -1;
    if (scp) {
        ssh_scp_close(scp);
        ssh_scp_free(scp);
    }
    if (target && fclose(target) != 0)
        return -1;
    return result;
}

/* 0: done; 1: done and answered; -1: failed. */
static int step(ssh_session session, sftp_session files, char **words)
{
    if (strcmp(words[0], "put") == 0)
        return put(files, words[1], words[2]);
    if (strcmp(words[0], "get") == 0)
        return get(files, words[1], words[2]);
    if (strcmp(words[0], "scpput") == 0)
        return scp_put(session, words[1], words[2]);
    if (strcmp(words[0], "scpget") == 0)
        return scp_get(session, words[1], words[2]);
    if (strcmp(words[0], "list") == 0)
        return list(files, words[1]);
    if (strcmp(words[0], "symlink") == 0)
        return sftp_symlink(files, words[1], words[2]);
    if (strcmp(words[0], "readlink") == 0) {
        char *target = sftp_readlink(files, words[1]);
        if (!target)
            return -1;
        printf("ok\t%s\n", target);
        ssh_string_free_char(target);
        return 1;
    }
    if (strcmp(words[0], "rename") == 0)
        return sftp_rename(files, words[1], words[2]);
    if (strcmp(words[0], "mkdir") == 0)
        return sftp_mkdir(files, words[1], 0755);
    if (strcmp(words[0], "remove") == 0)
        return sftp_unlink(files, words[1]);
    return strcmp(words[0], "exec") == 0 ? command(session, words[1]) : -1;
}

int main(int count, char **arguments)
{
    static char line[8192];
    ssh_session session = ssh_new();
    sftp_session files = NULL;
    if (count != 6 || !session)
        return 2;
    if (login(session, arguments) == 0 && (files = sftp_new(session)) != NULL && sftp_init(files) == SSH_OK)
        printf("ok\n");
    else
        failed(session, NULL);
    while (files && fgets(line, sizeof line, stdin)) {
        char *words[WORDS] = {"", "", ""}, *rest = line;
        line[strcspn(line, "\n")] = 0;
        for (int i = 0; i < WORDS && rest; i++)
            words[i] = strsep(&rest, "\t");
        int result = step(session, files, words);
        if (result == 0)
            printf("ok\n");
        else if (result < 0)
            failed(session, files);
        fflush(stdout);
    }
    if (files)
        sftp_free(files);
    ssh_disconnect(session);
    ssh_free(session);
    return 0;
}
