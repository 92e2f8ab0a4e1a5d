/** RTPROT of those who speak BGP: BIRD, kube-router, FRR (linux/rtnetlink.h). */
const bgpProtocols: ReadonlySet<number> = new Set([12, 17, 186]);

export const isBgp = (protocol: number): boolean => bgpProtocols.has(protocol);
