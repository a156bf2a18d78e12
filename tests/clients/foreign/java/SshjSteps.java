// SPDX-License-Identifier: Apache-2.0

import java.util.List;
import net.schmizz.sshj.SSHClient;
import net.schmizz.sshj.common.IOUtils;
import net.schmizz.sshj.connection.channel.direct.Session;
import net.schmizz.sshj.sftp.RemoteResourceInfo;
import net.schmizz.sshj.sftp.SFTPClient;
import net.schmizz.sshj.sftp.SFTPException;
import net.schmizz.sshj.transport.verification.PromiscuousVerifier;

/** sshj. */
public final class SshjSteps extends Steps {
    private final SSHClient client = new SSHClient();
    private SFTPClient files;

    @Override
    void login(String host, int port, String user, String password, String key) throws Exception {
        client.addHostKeyVerifier(new PromiscuousVerifier());
        client.connect(host, port);
        if (key == null) {
            client.authPassword(user, password);
        } else {
            client.authPublickey(user, key);
        }
        files = client.newSFTPClient();
    }

    @Override
    void put(String local, String remote) throws Exception {
        files.put(local, remote);
    }

    @Override
    void get(String remote, String local) throws Exception {
        files.get(remote, local);
    }

    @Override
    void scpPut(String local, String remote) throws Exception {
        client.newSCPFileTransfer().upload(local, remote);
    }

    @Override
    void scpGet(String remote, String local) throws Exception {
        client.newSCPFileTransfer().download(remote, local);
    }

    @Override
    List<String> list(String path) throws Exception {
        return files.ls(path).stream().map(RemoteResourceInfo::getName).toList();
    }

    @Override
    void symlink(String target, String link) throws Exception {
        files.symlink(target, link);
    }

    @Override
    String readlink(String path) throws Exception {
        return files.readlink(path);
    }

    @Override
    void rename(String before, String after) throws Exception {
        files.rename(before, after);
    }

    @Override
    void mkdir(String path) throws Exception {
        files.mkdir(path);
    }

    @Override
    void remove(String path) throws Exception {
        files.rm(path);
    }

    @Override
    List<String> exec(String command) throws Exception {
        try (Session session = client.startSession()) {
            Session.Command running = session.exec(command);
            IOUtils.readFully(running.getInputStream());
            String said = IOUtils.readFully(running.getErrorStream()).toString();
            running.join();
            return List.of(String.valueOf(running.getExitStatus()), said);
        }
    }

    @Override
    void close() throws Exception {
        files.close();
        client.disconnect();
    }

    @Override
    int code(Throwable error) {
        return error instanceof SFTPException status ? status.getStatusCode().getCode() : -1;
    }
}
