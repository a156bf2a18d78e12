// SPDX-License-Identifier: Apache-2.0

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.List;
import org.apache.sshd.client.SshClient;
import org.apache.sshd.client.channel.ChannelExec;
import org.apache.sshd.client.channel.ClientChannelEvent;
import org.apache.sshd.client.keyverifier.AcceptAllServerKeyVerifier;
import org.apache.sshd.client.session.ClientSession;
import org.apache.sshd.common.keyprovider.FileKeyPairProvider;
import org.apache.sshd.sftp.client.SftpClient;
import org.apache.sshd.sftp.client.SftpClientFactory;
import org.apache.sshd.sftp.client.extensions.CheckFileNameExtension;
import org.apache.sshd.sftp.common.SftpException;

/** Apache MINA SSHD. */
public final class MinaSteps extends Steps {
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private final SshClient client = SshClient.setUpDefaultClient();
    private ClientSession session;
    private SftpClient files;

    @Override
    void login(String host, int port, String user, String password, String key) throws Exception {
        client.setServerKeyVerifier(AcceptAllServerKeyVerifier.INSTANCE);
        client.start();
        session = client.connect(user, host, port).verify(PATIENCE).getSession();
        if (key == null) {
            session.addPasswordIdentity(password);
        } else {
            session.setKeyIdentityProvider(new FileKeyPairProvider(Path.of(key)));
        }
        session.auth().verify(PATIENCE);
        files = SftpClientFactory.instance().createSftpClient(session);
    }

    @Override
    void put(String local, String remote) throws Exception {
        files.put(Path.of(local), remote);
    }

    @Override
    void get(String remote, String local) throws Exception {
        try (var source = files.read(remote)) {
            Files.copy(source, Path.of(local));
        }
    }

    @Override
    List<String> list(String path) throws Exception {
        List<String> names = new ArrayList<>();
        files.readDir(path).forEach(entry -> names.add(entry.getFilename()));
        return names;
    }

    @Override
    void symlink(String target, String link) throws Exception {
        files.symLink(link, target);
    }

    @Override
    String readlink(String path) throws Exception {
        return files.readLink(path);
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
        files.remove(path);
    }

    @Override
    List<String> exec(String command) throws Exception {
        try (ChannelExec channel = session.createExecChannel(command)) {
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            channel.setErr(said);
            channel.open().verify(PATIENCE);
            channel.waitFor(EnumSet.of(ClientChannelEvent.CLOSED), PATIENCE);
            return List.of(String.valueOf(channel.getExitStatus()), said.toString(StandardCharsets.UTF_8));
        }
    }

    @Override
    String digest(String path) throws Exception {
        var found = files.getExtension(CheckFileNameExtension.class).checkFileName(path, List.of("sha256"), 0, 0, 0);
        return HexFormat.of().formatHex(found.getValue().iterator().next());
    }

    @Override
    void close() throws Exception {
        files.close();
        session.close();
        client.stop();
    }

    @Override
    int code(Throwable error) {
        return error instanceof SftpException status ? status.getStatus() : -1;
    }
}
