import grpc

# The last of grpcio's asynchronous objects stops its thread as it is collected, and waits for it, sometimes for ever:
# https://github.com/grpc/grpc/issues/22365. So there is never a last one.
grpc.aio.init_grpc_aio()
