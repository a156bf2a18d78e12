// SPDX-License-Identifier: Apache-2.0

import com.jcraft.jsch.ChannelExec;
import com.jcraft.jsch.ChannelSftp;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import com.jcraft.jsch.SftpException;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** JSch: the maintained fork and the original have one API. */
public final class JschSteps extends Steps {
    private Session session;
    private ChannelSftp files;

    @Override
    void login(String host, int port, String user, String password, String key) throws Exception {
        JSch jsch = new JSch();
        if (key != null) {
            jsch.addIdentity(key);
        }
        session = jsch.getSession(user, host, port);
        session.setConfig("StrictHostKeyChecking", "no");
        session.setPassword(password);
        session.connect(30_000);
        files = (ChannelSftp) session.openChannel("sftp");
        files.connect(30_000);
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
    List<String> list(String path) throws Exception {
        List<String> names = new ArrayList<>();
        for (Object entry : files.ls(path)) {
            names.add(((ChannelSftp.LsEntry) entry).getFilename());
        }
        return names;
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
        ChannelExec channel = (ChannelExec) session.openChannel("exec");
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        channel.setCommand(command);
        channel.setErrStream(said);
        InputStream out = channel.getInputStream();
        channel.connect(30_000);
        out.readAllBytes();
        while (!channel.isClosed()) {
            Thread.sleep(10);
        }
        channel.disconnect();
        return List.of(String.valueOf(channel.getExitStatus()), said.toString(StandardCharsets.UTF_8));
    }

    @Override
    void close() {
        session.disconnect();
    }

    @Override
    int code(Throwable error) {
        return error instanceof SftpException status ? status.id : -1;
    }
}
