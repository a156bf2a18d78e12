// SPDX-License-Identifier: Apache-2.0

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Runs steps of tests/support/foreign.py; a subclass does them with one library. */
abstract class Steps {
    abstract void login(String host, int port, String user, String password, String key) throws Exception;

    abstract void put(String local, String remote) throws Exception;

    abstract void get(String remote, String local) throws Exception;

    abstract List<String> list(String path) throws Exception;

    abstract void symlink(String target, String link) throws Exception;

    abstract String readlink(String path) throws Exception;

    abstract void rename(String before, String after) throws Exception;

    abstract void mkdir(String path) throws Exception;

    abstract void remove(String path) throws Exception;

    /** Exit status, then the text on standard error. */
    abstract List<String> exec(String command) throws Exception;

    /** Over SCP; not every library has it. */
    void scpPut(String local, String remote) throws Exception {
        throw new UnsupportedOperationException("scpput");
    }

    void scpGet(String remote, String local) throws Exception {
        throw new UnsupportedOperationException("scpget");
    }

    /** The SHA-256 of a file as the server says it, in hexadecimal. */
    String digest(String path) throws Exception {
        throw new UnsupportedOperationException("digest");
    }

    abstract void close() throws Exception;

    /** The status that an exception of the library holds, -1 without. */
    abstract int code(Throwable error);

    private List<String> step(String[] words) throws Exception {
        switch (words[0]) {
            case "put" -> put(words[1], words[2]);
            case "get" -> get(words[1], words[2]);
            case "scpput" -> scpPut(words[1], words[2]);
            case "scpget" -> scpGet(words[1], words[2]);
            case "list" -> {
                List<String> names = new ArrayList<>(list(words[1]));
                names.removeAll(List.of(".", ".."));
                return names;
            }
            case "symlink" -> symlink(words[1], words[2]);
            case "readlink" -> {
                return List.of(readlink(words[1]));
            }
            case "rename" -> rename(words[1], words[2]);
            case "mkdir" -> mkdir(words[1]);
            case "remove" -> remove(words[1]);
            case "exec" -> {
                return exec(words[1]);
            }
            case "digest" -> {
                return List.of(digest(words[1]));
            }
            default -> throw new IllegalArgumentException("unknown step " + words[0]);
        }
        return List.of();
    }

    private void failed(Throwable error) {
        int code = -1;
        StringBuilder text = new StringBuilder();
        for (Throwable each = error; each != null; each = each.getCause()) {
            code = code < 0 ? code(each) : code;
            text.append(each).append(' ');
        }
        System.out.println("error\t" + (code < 0 ? "" : code) + "\t" + text.toString().replaceAll("\\s+", " "));
    }

    final void run(String[] words) throws Exception {
        boolean key = words[3].equals("key");
        try {
            login(words[0], Integer.parseInt(words[1]), words[2], key ? null : words[4], key ? words[4] : null);
        } catch (Exception error) {
            failed(error);
            System.exit(0);
        }
        System.out.println("ok");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                List<String> answer = new ArrayList<>(List.of("ok"));
                step(line.split("\t", -1)).forEach(value -> answer.add(value.replaceAll("\\s+", " ").strip()));
                System.out.println(String.join("\t", answer));
            } catch (Exception error) {
                failed(error);
            }
            System.out.flush();
        }
        close();
        System.exit(0);
    }

    public static void main(String[] words) throws Exception {
        Steps steps = (Steps) Class.forName(words[0]).getDeclaredConstructor().newInstance();
        steps.run(Arrays.copyOfRange(words, 1, words.length));
    }
}
