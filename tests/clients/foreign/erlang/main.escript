#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%% Runs steps of tests/support/foreign.py with ssh and ssh_sftp of Erlang/OTP.
%% A key is taken from the directory of its file, where it has to be id_ed25519, for that is how the library finds it.

-mode(compile).

main([Host, Port, User, Method, Secret]) ->
    {ok, _} = application:ensure_all_started(ssh),
    logger:set_primary_config(level, none),
    Common = [{user, User}, {silently_accept_hosts, true}, {save_accepted_host, false}, {user_interaction, false}],
    Auth = case Method of
        "key" -> [{user_dir, filename:dirname(Secret)}, {auth_methods, "publickey"}];
        _ -> [{password, Secret}, {auth_methods, "password"}]
    end,
    case ssh:connect(Host, list_to_integer(Port), Common ++ Auth) of
        {ok, Connection} ->
            {ok, Files} = ssh_sftp:start_channel(Connection),
            io:format("ok~n"),
            loop(Connection, Files),
            ssh:close(Connection);
        {error, Reason} -> answer({error, Reason})
    end.

loop(Connection, Files) ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            answer(step(Connection, Files, string:split(string:trim(Line, trailing, "\n"), "\t", all))),
            loop(Connection, Files)
    end.

answer(ok) -> io:format("ok~n");
answer({ok, Values}) -> io:format("~ts~n", [lists:join("\t", ["ok" | Values])]);
answer({error, Reason}) -> io:format("error\t~ts\t~ts~n", [code(Reason), flat(io_lib:format("~tp", [Reason]))]).

%% The library tells statuses as atoms.
code(permission_denied) -> "3";
code(no_such_file) -> "2";
code(failure) -> "4";
code(_) -> "".

flat(Text) -> lists:join(" ", string:lexemes(Text, "\n\r\t")).

step(_, Files, ["put", Local, Remote]) ->
    {ok, Data} = file:read_file(Local),
    ssh_sftp:write_file(Files, Remote, Data);
step(_, Files, ["get", Remote, Local]) ->
    case ssh_sftp:read_file(Files, Remote) of
        {ok, Data} -> file:write_file(Local, Data);
        Error -> Error
    end;
step(_, Files, ["list", Path]) ->
    case ssh_sftp:list_dir(Files, Path) of
        {ok, Names} -> {ok, Names -- [".", ".."]};
        Error -> Error
    end;
%% The first argument goes first on the wire, which is the target to OpenSSH's server, whatever the manual calls it.
step(_, Files, ["symlink", Target, Link]) -> ssh_sftp:make_symlink(Files, Target, Link);
step(_, Files, ["readlink", Path]) ->
    case ssh_sftp:read_link(Files, Path) of
        {ok, Target} -> {ok, [Target]};
        Error -> Error
    end;
step(_, Files, ["rename", Old, New]) -> ssh_sftp:rename(Files, Old, New);
step(_, Files, ["mkdir", Path]) -> ssh_sftp:make_dir(Files, Path);
step(_, Files, ["remove", Path]) -> ssh_sftp:delete(Files, Path);
step(Connection, _, ["exec", Command]) ->
    {ok, Channel} = ssh_connection:session_channel(Connection, 30000),
    case ssh_connection:exec(Connection, Channel, Command, 30000) of
        success -> collect(Channel, "", "");
        failure -> collect(Channel, "refused", "")
    end.

collect(Channel, Status, Said) ->
    receive
        {ssh_cm, _, {exit_status, Channel, Code}} -> collect(Channel, integer_to_list(Code), Said);
        {ssh_cm, _, {data, Channel, 1, Text}} -> collect(Channel, Status, [Said, Text]);
        {ssh_cm, _, {closed, Channel}} -> {ok, [Status, flat(unicode:characters_to_list(iolist_to_binary(Said)))]};
        {ssh_cm, _, _} -> collect(Channel, Status, Said)
    after 30000 -> {error, "the command did not end"}
    end.
