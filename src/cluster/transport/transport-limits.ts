/**
 * Times and sizes of the peer port. All are bounds that a peer, whatever it does, cannot push further.
 */
export interface TransportLimits {
  /** An end that has said nothing for so long says that it is there. */
  readonly pingMs: number;
  /** A link that nothing has been heard on for so long is over. */
  readonly silenceMs: number;
  /** From the first byte of a connection to a link. */
  readonly handshakeMs: number;
  /** An attempt to connect counts as failed after so long; the system may still bring it about. */
  readonly connectMs: number;
  /** Between attempts, doubling from the one to the other; each is shortened by up to half, by chance. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** Of messages that a peer may send before the handlers are done with them, one message more. */
  readonly windowBytes: number;
  /** Of messages that wait to be written to one link, one message more. */
  readonly queueBytes: number;
  /** Accepted connections in their handshake; the oldest goes when one more comes. */
  readonly handshakesMax: number;
  /** Incoming links. */
  readonly linksMax: number;
}

export const TRANSPORT_LIMITS: TransportLimits = {
  pingMs: 1000,
  silenceMs: 5000,
  handshakeMs: 3000,
  connectMs: 3000,
  backoffMinMs: 20,
  backoffMaxMs: 1000,
  windowBytes: 8 * 1024 * 1024,
  queueBytes: 8 * 1024 * 1024,
  handshakesMax: 64,
  linksMax: 1024,
};
