// SPDX-License-Identifier: Apache-2.0

// Runs steps of tests/support/foreign.py with github.com/pkg/sftp over golang.org/x/crypto/ssh.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func answer(values []string, err error) {
	flat := strings.NewReplacer("\n", " ", "\r", " ", "\t", " ")
	if err != nil {
		code := ""
		var status *sftp.StatusError
		if errors.As(err, &status) {
			code = fmt.Sprint(status.Code)
		} else if errors.Is(err, os.ErrPermission) {
			code = "3"
		} else if errors.Is(err, os.ErrNotExist) {
			code = "2"
		}
		fmt.Printf("error\t%s\t%s\n", code, flat.Replace(err.Error()))
		return
	}
	fmt.Println(strings.Join(append([]string{"ok"}, values...), "\t"))
}

func login(address, user, method, secret string) (*ssh.Client, *sftp.Client, error) {
	auth := ssh.Password(secret)
	if method == "key" {
		text, err := os.ReadFile(secret)
		if err != nil {
			return nil, nil, err
		}
		signer, err := ssh.ParsePrivateKey(text)
		if err != nil {
			return nil, nil, err
		}
		auth = ssh.PublicKeys(signer)
	}
	connection, err := ssh.Dial("tcp", address, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{auth}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return nil, nil, err
	}
	files, err := sftp.NewClient(connection)
	return connection, files, err
}

func put(files *sftp.Client, local, remote string) error {
	source, err := os.Open(local)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := files.Create(remote)
	if err != nil {
		return err
	}
	if _, err = io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}

func get(files *sftp.Client, remote, local string) error {
	source, err := files.Open(remote)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(local)
	if err != nil {
		return err
	}
	if _, err = io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}

func command(connection *ssh.Client, line string) ([]string, error) {
	session, err := connection.NewSession()
	if err != nil {
		return nil, err
	}
	defer session.Close()
	var said strings.Builder
	session.Stderr = &said
	err = session.Run(line)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return []string{fmt.Sprint(exit.ExitStatus()), strings.TrimSpace(said.String())}, nil
	}
	return []string{"0", strings.TrimSpace(said.String())}, err
}

func step(connection *ssh.Client, files *sftp.Client, words []string) ([]string, error) {
	switch words[0] {
	case "put":
		return nil, put(files, words[1], words[2])
	case "get":
		return nil, get(files, words[1], words[2])
	case "list":
		found, err := files.ReadDir(words[1])
		var names []string
		for _, entry := range found {
			names = append(names, entry.Name())
		}
		return names, err
	case "symlink":
		return nil, files.Symlink(words[1], words[2])
	case "readlink":
		target, err := files.ReadLink(words[1])
		return []string{target}, err
	case "rename":
		return nil, files.Rename(words[1], words[2])
	case "mkdir":
		return nil, files.Mkdir(words[1])
	case "remove":
		return nil, files.Remove(words[1])
	case "exec":
		return command(connection, words[1])
	}
	return nil, errors.New("unknown step " + words[0])
}

func main() {
	connection, files, err := login(os.Args[1]+":"+os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	answer(nil, err)
	if err != nil {
		return
	}
	defer connection.Close()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer(step(connection, files, strings.Split(lines.Text(), "\t")))
	}
	files.Close()
}
