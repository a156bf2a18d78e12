#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0

# Runs steps of tests/support/foreign.py with Net::SFTP::Foreign, which speaks SFTP over the ssh program.
use strict;
use warnings;
use Net::SFTP::Foreign;

$| = 1;

sub flat {
    my ($text) = @_;
    $text =~ s/\s+/ /g;
    return $text;
}

my ($host, $port, $user, $method, $secret) = @ARGV;
my @options = map { ('-o', $_) }
    qw(StrictHostKeyChecking=no UserKnownHostsFile=/dev/null IdentitiesOnly=yes BatchMode=yes LogLevel=ERROR);
my $sftp = Net::SFTP::Foreign->new(
    host => $host, port => $port, user => $user, key_path => $secret, more => ['-F', 'none', @options], timeout => 60,
);

sub answer {
    my ($done, @values) = @_;
    if ($done) {
        print join("\t", 'ok', @values), "\n";
    } else {
        my $code = $sftp->status + 0;
        print join("\t", 'error', $code > 0 ? $code : '', flat($sftp->error . ' ' . $sftp->status)), "\n";
    }
    return $done;
}

my %steps = (
    put => sub { answer($sftp->put(@_)) },
    get => sub { answer($sftp->get(@_)) },
    list => sub {
        my $found = $sftp->ls($_[0], names_only => 1, no_wanted => qr/^\.\.?$/);
        answer(defined $found, @{ $found // [] });
    },
    symlink => sub { answer($sftp->symlink($_[1], $_[0])) },
    readlink => sub {
        my $target = $sftp->readlink($_[0]);
        answer(defined $target, $target);
    },
    rename => sub { answer($sftp->rename(@_)) },
    mkdir => sub { answer($sftp->mkdir($_[0])) },
    remove => sub { answer($sftp->remove($_[0])) },
);

if (answer(!$sftp->error)) {
    while (my $line = <STDIN>) {
        chomp $line;
        my ($name, @words) = split /\t/, $line, -1;
        $steps{$name}->(@words);
    }
}
