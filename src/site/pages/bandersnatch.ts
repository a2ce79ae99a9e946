/** Returns the bandersnatch.conf that makes bandersnatch mirror the farm. `publicUrl` ends in `/`. */
export function bandersnatchConfig(publicUrl: string | null): string {
  const master = (publicUrl ?? 'https://this-farm.example/').replace(/\/+$/, '');
  const allowHttp = master.startsWith('http:') ? '\nallow-non-https = true' : '';
  return `[mirror]
directory = /srv/pypi
master = ${master}${allowHttp}
api-method = simple
json = true`;
}
