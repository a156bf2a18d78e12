// SPDX-License-Identifier: Apache-2.0

import com.jcraft.jsch.ChannelExec;
import com.jcraft.jsch.ChannelSftp;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import com.jcraft.jsch.SftpException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
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

    /** JSch has no SCP; programs speak it over a channel of its own, as its examples do. */
    @Override
    void scpPut(String local, String remote) throws Exception {
        ChannelExec channel = scp("-p -t", remote);
        try (OutputStream out = channel.getOutputStream(); InputStream in = channel.getInputStream()) {
            channel.connect(30_000);
            Path file = Path.of(local);
            agreed(in);
            long seconds = Files.getLastModifiedTime(file).toMillis() / 1000;
            say(out, "T" + seconds + " 0 " + seconds + " 0\n");
            agreed(in);
            say(out, "C0644 " + Files.size(file) + " " + file.getFileName() + "\n");
            agreed(in);
            Files.copy(file, out);
            say(out, "\0");
            agreed(in);
        } finally {
            channel.disconnect();
        }
    }

    @Override
    void scpGet(String remote, String local) throws Exception {
        ChannelExec channel = scp("-f", remote);
        try (OutputStream out = channel.getOutputStream(); InputStream in = channel.getInputStream()) {
            channel.connect(30_000);
            say(out, "\0");
            String record = line(in);
            if (!record.startsWith("C0")) {
                throw new IOException(record);
            }
            long left = Long.parseLong(record.split(" ")[1]);
            say(out, "\0");
            try (OutputStream file = Files.newOutputStream(Path.of(local))) {
                byte[] piece = new byte[32768];
                while (left > 0) {
                    int size = in.read(piece, 0, (int) Math.min(piece.length, left));
                    if (size < 0) {
                        throw new IOException("the server went away");
                    }
                    file.write(piece, 0, size);
                    left -= size;
                }
            }
            agreed(in);
            say(out, "\0");
        } finally {
            channel.disconnect();
        }
    }

    private ChannelExec scp(String options, String remote) throws Exception {
        ChannelExec channel = (ChannelExec) session.openChannel("exec");
        channel.setCommand("scp " + options + " '" + remote.replace("'", "'\"'\"'") + "'");
        return channel;
    }

    private static void say(OutputStream out, String text) throws IOException {
        out.write(text.getBytes(StandardCharsets.UTF_8));
        out.flush();
    }

    private static void agreed(InputStream in) throws IOException {
        int answer = in.read();
        if (answer != 0) {
            throw new IOException(answer < 0 ? "the server went away" : line(in));
        }
    }

    private static String line(InputStream in) throws IOException {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        for (int each = in.read(); each >= 0 && each != '\n'; each = in.read()) {
            text.write(each);
        }
        return text.toString(StandardCharsets.UTF_8);
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
