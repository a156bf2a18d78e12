# SPDX-License-Identifier: Apache-2.0
# A user over REST with PowerShell 7. Never run: no machine of the tests has PowerShell.
$ErrorActionPreference = 'Stop'
$base = if ($env:TIDEGATE_URL) { $env:TIDEGATE_URL } else { 'http://127.0.0.1:8080' }
$directory = if ($env:TIDEGATE_HOME) { $env:TIDEGATE_HOME } else { '/srv/sftp/example' }
$api = "$base/api/v2"

$secret = ConvertTo-SecureString $env:TIDEGATE_PASSWORD -AsPlainText -Force
$who = [pscredential]::new($env:TIDEGATE_ADMIN, $secret)
$answer = Invoke-RestMethod "$api/token" -Authentication Basic -Credential $who -AllowUnencryptedAuthentication
$token = ConvertTo-SecureString $answer.access_token -AsPlainText -Force

function Ask($method, $path, $document) {
    $more = @{}
    if ($document) { $more.Body = $document | ConvertTo-Json -Depth 9; $more.ContentType = 'application/json' }
    Invoke-RestMethod "$api/$path" -Method $method -Authentication Bearer -Token $token -AllowUnencryptedAuthentication @more
}

Ask Post 'users' @{
    username = 'example'; password = 'Example-pass-1'; status = 1; home_dir = $directory
    permissions = @{ '/' = @('list', 'download') }
}
Ask Get 'users/example'
Ask Put 'users/example' @{ quota_size = 5000000 }
Ask Delete 'users/example'
