/** The build that was granted under a lease. */
export interface BuildLease {
  readonly lease: number;
  readonly package: string;
  readonly version: string;
  readonly abi: string;
  readonly platform: string;
}
