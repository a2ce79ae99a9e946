/** Returns the bandersnatch.conf with which bandersnatch mirrors the farm. `publicUrl` ends in `/`. */
export function bandersnatchConfig(publicUrl: string | null): string {
  const master = (publicUrl ?? 'https://this-farm.example/').replace(/\/+$/, '');
  const plain = master.startsWith('http:') ? '\nallow-non-https = true' : '';
  return `[mirror]
directory = /srv/pypi
master = ${master}${plain}
api-method = simple
json = true`;
}
