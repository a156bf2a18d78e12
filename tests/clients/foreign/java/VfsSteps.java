// SPDX-License-Identifier: Apache-2.0

import java.io.File;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.commons.vfs2.FileObject;
import org.apache.commons.vfs2.FileSystemOptions;
import org.apache.commons.vfs2.auth.StaticUserAuthenticator;
import org.apache.commons.vfs2.impl.DefaultFileSystemConfigBuilder;
import org.apache.commons.vfs2.impl.StandardFileSystemManager;
import org.apache.commons.vfs2.provider.sftp.IdentityInfo;
import org.apache.commons.vfs2.provider.sftp.SftpFileSystemConfigBuilder;

/** Apache Commons VFS on JSch; it runs {@code id -u} and {@code id -G} before it first looks whether it may write. */
public final class VfsSteps extends Steps {
    private final StandardFileSystemManager manager = new StandardFileSystemManager();
    private final FileSystemOptions options = new FileSystemOptions();
    private String root;

    @Override
    void login(String host, int port, String user, String password, String key) throws Exception {
        SftpFileSystemConfigBuilder builder = SftpFileSystemConfigBuilder.getInstance();
        builder.setStrictHostKeyChecking(options, "no");
        if (key != null) {
            builder.setIdentityProvider(options, new IdentityInfo(new File(key)));
            builder.setPreferredAuthentications(options, "publickey");
        }
        DefaultFileSystemConfigBuilder.getInstance()
                .setUserAuthenticator(options, new StaticUserAuthenticator(null, user, password));
        manager.init();
        root = "sftp://" + host + ":" + port;
        file("/").getChildren();
    }

    private FileObject file(String path) throws Exception {
        return manager.resolveFile(root + path, options);
    }

    @Override
    void put(String local, String remote) throws Exception {
        try (FileObject file = file(remote); OutputStream target = file.getContent().getOutputStream()) {
            Files.copy(Path.of(local), target);
        }
    }

    @Override
    void get(String remote, String local) throws Exception {
        try (FileObject file = file(remote); InputStream source = file.getContent().getInputStream()) {
            Files.copy(source, Path.of(local));
        }
    }

    @Override
    List<String> list(String path) throws Exception {
        FileObject directory = file(path);
        directory.refresh();
        List<String> names = new ArrayList<>();
        for (FileObject child : directory.getChildren()) {
            names.add(child.getName().getBaseName());
        }
        return names;
    }

    @Override
    void symlink(String target, String link) {
        throw new UnsupportedOperationException("symlink");
    }

    @Override
    String readlink(String path) {
        throw new UnsupportedOperationException("readlink");
    }

    @Override
    void rename(String before, String after) throws Exception {
        file(before).moveTo(file(after));
    }

    @Override
    void mkdir(String path) throws Exception {
        file(path).createFolder();
    }

    @Override
    void remove(String path) throws Exception {
        if (!file(path).delete()) {
            throw new IllegalStateException("nothing was removed");
        }
    }

    /** Runs no command of the caller's: has the library run its own, and says what they led to. */
    @Override
    List<String> exec(String path) throws Exception {
        FileObject file = file(path);
        return List.of(String.valueOf(file.isReadable()), String.valueOf(file.isWriteable()));
    }

    @Override
    void close() {
        manager.close();
    }

    @Override
    int code(Throwable error) {
        return error instanceof com.jcraft.jsch.SftpException status ? status.id : -1;
    }
}
